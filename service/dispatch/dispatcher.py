"""The asyncio shell around the scheduler: it owns tasks and the clock, and holds no policy.

Requests open a `Ticket`, enqueue pairs on it and await its replies in the order they finish. One task takes frames
from the waiting line and hands them to the engine's threads. Shortly before a frame ends, the next is packed if
enough waits to fill it, so that the device never waits for packing; with less waiting, packing is put off until the
engine is free, so that what arrives meanwhile still gets in. There is no batching delay: an idle engine starts at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import count

from service.dispatch.engine_thread import EngineThread
from service.dispatch.frame_report import FrameReport, finite, outcome_of
from service.dispatch.ledger import Ledger, Reply, Ticket, pair_key
from service.dispatch.outbox import Outbox
from service.dispatch.pace import HandedOver, Pace
from service.dispatch.score_cache import ScoreCache
from service.engine.protocol import PrefixLost
from service.errors import Cancelled, DeadlineExceeded, EngineFailure, OutOfMemory, RewardServiceError
from service.scheduling.batcher import FrameLimits, take_frame
from service.scheduling.jobs import Job, JobId, group_of
from service.scheduling.packing import PackedFrame, PackedJob, halves
from service.scheduling.prefix_directory import PrefixDirectory
from service.scheduling.waiting_line import WaitingLine
from service.types import EncodedPair, Reward

_logger = logging.getLogger(__name__)

AHEAD_S = 0.1
"""So long before a frame's likely end the next is packed. Packed earlier, whoever arrives meanwhile would wait for a
whole frame more (median of interactive calls beside a bulk job, with frames of half a second: three frames instead of
two); packed later, the device would wait for a busy event loop. Nor does a free lane wait longer for a full one."""


class Dispatcher:
    """Owns the waiting line, the task that empties it, and the ledger of who waits for what."""

    def __init__(
        self,
        engine: EngineThread,
        limits: FrameLimits,
        *,
        cache: ScoreCache | None = None,
        directory: PrefixDirectory | None = None,
        on_frame: Callable[[FrameReport], None] = lambda report: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._line = WaitingLine()
        self._ledger = Ledger()
        self._outbox = Outbox()
        self._cache = ScoreCache(max_pairs=0) if cache is None else cache
        self._directory = PrefixDirectory() if directory is None else directory
        self._job_ids = count()
        self._has_news = asyncio.Event()
        self._on_frame = on_frame
        self._clock = clock
        self._pace = Pace(clock, engine.num_lanes)
        self._task: asyncio.Task[None] | None = None
        self._refusal: RewardServiceError | None = None

    @property
    def is_alive(self) -> bool:
        """Whether an enqueued pair would be answered."""
        return self._task is not None and not self._task.done() and self._engine.is_alive

    @property
    def ended_because(self) -> str:
        """Why no enqueued pair would be answered with a reward; empty while one would."""
        return "" if self.is_alive else self._engine.ended_because or "the dispatcher has ended"

    @property
    def num_waiting_pairs(self) -> int:
        """Pairs that no frame has taken yet."""
        return len(self._line)

    @property
    def num_waiting_tokens(self) -> int:
        """Their tokens."""
        return self._line.num_tokens

    def start(self) -> None:
        """Begins to take frames. Call once, from the event loop that will await the replies."""
        self._task = asyncio.create_task(self._take_frames(), name="dispatcher")

    def enqueue(self, ticket: Ticket, index: int, pair: EncodedPair) -> None:
        """Puts a pair in line; its reply will come on the ticket under `index`.

        A pair whose finished score is kept is answered at once, one that is in flight for someone else with it.
        """
        if self._refusal is not None:
            ticket.replies.put_nowait(Reply(index, self._refusal))
            return
        key = pair_key(pair, ticket.explain)
        kept = self._cache.get(key)
        if kept is not None:
            ticket.replies.put_nowait(Reply(index, kept, reused_tokens=len(pair.ids)))
        elif not self._ledger.join(key, ticket, index):
            job = self._new_job(ticket, pair)
            self._ledger.open(job, key, ticket, index)
            self._line.enqueue(job)
            self._has_news.set()

    def close_ticket(self, ticket: Ticket) -> None:
        """Forgets what a ticket still waits for: nobody reads its replies any more."""
        for job_id in self._ledger.leave(ticket):
            self._drop(job_id)

    async def close(self) -> None:
        """Ends the task and answers everyone still waiting with `cancelled`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.cancel_all()

    def cancel_all(self) -> None:
        """Answers everyone with `cancelled` now, those too whose frame is running. May be called more than once."""
        self._answer_all(Cancelled("the server is shutting down; this pair was not scored"))

    def _answer_all(self, error: RewardServiceError) -> None:
        """The end: everyone in line and everyone who comes later gets this error."""
        self._refusal = self._refusal or error
        for job_id in self._ledger.all_jobs():
            self._drop(job_id)
            self._settle(job_id, error)

    def _drop(self, job_id: JobId) -> None:
        """Takes a job out of the line, with what is kept for it alone."""
        self._line.drop(job_id)
        self._directory.release(job_id)

    def _new_job(self, ticket: Ticket, pair: EncodedPair) -> Job:
        return Job(
            job_id=JobId(next(self._job_ids)),
            pair=pair,
            priority=ticket.priority,
            arrived_s=self._clock(),
            deadline_s=ticket.deadline_s,
            group=group_of(pair),
            explain=ticket.explain,
            client=ticket.client,
        )

    async def _take_frames(self) -> None:
        """Keeps the engine busy until cancelled, or until there is no engine; nobody is left without a reply."""
        running: set[asyncio.Task[None]] = set()
        try:
            while self._engine.is_alive:
                while self._line and self._may_pack(len(running)) and (packed := self._next_frame()) is not None:
                    running.add(task := asyncio.create_task(self._run(packed, self._hand_over(packed))))
                    task.add_done_callback(self._note_done)
                await self._wait_for_news(running)
            self._answer_all(EngineFailure(f"the engine thread is not running: {self._engine.ended_because}"))
        except Exception as error:  # a fault of ours: without this, everyone would wait for their deadline
            _logger.exception("the dispatcher failed; nothing will be scored again")
            self._answer_all(EngineFailure(f"the dispatcher failed: {type(error).__name__}: {error}"))
        finally:
            await asyncio.gather(*running, return_exceptions=True)

    def _may_pack(self, num_running: int) -> bool:
        """An idle engine takes anything; a busy one is packed ahead for if it is soon free and a whole frame waits.

        One that can run another frame at once takes a whole one, and anything unless it is soon idle.
        """
        if num_running == 0:
            return True
        is_full = self._line.num_tokens >= self._limits.max_tokens
        if num_running < self._engine.num_lanes:
            return is_full or self._pace.left_s() > AHEAD_S
        return num_running == self._engine.num_lanes and is_full and self._pace.left_s() <= AHEAD_S

    async def _wait_for_news(self, running: set[asyncio.Task[None]]) -> None:
        """Sleeps until a pair arrives, a running frame is done, or the next is to be packed."""
        self._has_news.clear()
        ahead_s = self._pace.left_s() - AHEAD_S if running else 0.0
        timer = asyncio.get_running_loop().call_later(ahead_s, self._has_news.set) if ahead_s > 0 else None
        try:
            await self._has_news.wait()
        finally:
            if timer is not None:
                timer.cancel()
        running.difference_update([task for task in running if task.done()])

    def _note_done(self, _: asyncio.Task[None]) -> None:
        self._has_news.set()

    def _next_frame(self) -> PackedFrame | None:
        """Drops what is late, then packs what goes next."""
        now_s = self._clock()
        for job in self._line.expire(now_s):
            waited_s = now_s - job.arrived_s
            self._directory.release(job.job_id)
            error = DeadlineExceeded(f"the deadline passed after {waited_s:.3f} s in the queue; not scored")
            self._settle(job.job_id, error, queue_s=waited_s)
        return take_frame(self._line, self._limits, now_s, self._directory)

    async def _run(self, packed: PackedFrame, handed_over: HandedOver) -> None:
        """Runs one frame and answers its pairs, whatever happens; one that does not fit the memory in halves."""
        taken_s = self._clock()
        try:
            outcomes = await self._reported_rewards(packed, handed_over)
            if isinstance(outcomes, PrefixLost):
                self._put_back(packed.jobs)
            elif isinstance(outcomes, OutOfMemory) and len(packed.jobs) + len(packed.parts) > 1:
                await self._run_halves(packed, taken_s)
            else:
                self._answer(packed, outcomes, taken_s)
        except Exception as error:  # of what came back, or of ours: an answered pair is not in the ledger any more
            _logger.exception("a frame's outcome could not be used")
            self._answer(packed, EngineFailure(f"the frame failed: {type(error).__name__}: {error}"), taken_s)

    async def _run_halves(self, packed: PackedFrame, taken_s: float) -> None:
        """Runs a frame's jobs in frames of half as many that store nothing, and so on; its parts wait for another."""
        left = self._halved(packed)
        while left:
            half = left.pop(0)
            outcomes = await self._reported_rewards(half, self._hand_over(half))
            if isinstance(outcomes, PrefixLost):
                self._put_back(half.jobs)
            elif isinstance(outcomes, OutOfMemory) and len(half.jobs) > 1:
                left[:0] = self._halved(half)
            else:
                self._answer(half, outcomes, taken_s)

    def _halved(self, packed: PackedFrame) -> list[PackedFrame]:
        """Its halves; what fits neither, because what it relied on is gone, goes back to the line."""
        packed_again = halves(packed, self._limits.max_tokens, self._directory)
        fitted = {taken.job.job_id for half in packed_again for taken in half.jobs}
        self._put_back([taken for taken in packed.jobs if taken.job.job_id not in fitted])
        return list(packed_again)

    def _put_back(self, taken: Sequence[PackedJob]) -> None:
        """Returns jobs that were not answered to the line, as long as anyone waits for them."""
        self._line.put_back(each.job for each in taken if each.job.job_id in self._ledger)
        self._has_news.set()

    def _hand_over(self, packed: PackedFrame) -> HandedOver:
        return self._pace.hand_over(packed.frame.num_tokens)

    async def _reported_rewards(
        self, packed: PackedFrame, handed_over: HandedOver
    ) -> tuple[Reward, ...] | RewardServiceError | PrefixLost:
        """What the engine says of a frame, told to the directory and to whoever watches frames."""
        outcomes = await self._rewards(packed)
        compute_s = self._pace.note_done(handed_over)
        if not isinstance(outcomes, tuple):
            self._directory.forget(store.slot for store in packed.frame.stores)
        for node in packed.used:
            self._directory.unpin(node)
        try:
            self._on_frame(FrameReport(len(packed.jobs), packed.frame.num_tokens, compute_s, outcome_of(outcomes)))
        except Exception:
            _logger.exception("an observer failed on a frame")
        return outcomes

    def _answer(self, packed: PackedFrame, outcomes: tuple[Reward, ...] | RewardServiceError, taken_s: float) -> None:
        """Tells the askers of a frame's pairs what became of them."""
        compute_s = self._clock() - taken_s
        for place, taken in enumerate(packed.jobs):
            outcome = outcomes if isinstance(outcomes, RewardServiceError) else finite(outcomes[place])
            if isinstance(outcome, Reward):
                self._cache.put(pair_key(taken.job.pair, taken.job.explain), outcome)
            self._settle(taken.job.job_id, outcome, taken, taken_s - taken.job.arrived_s, compute_s)
        if isinstance(outcomes, RewardServiceError):
            for job in packed.parts:
                self._drop(job.job_id)
                self._settle(job.job_id, outcomes, None, taken_s - job.arrived_s, compute_s)

    async def _rewards(self, packed: PackedFrame) -> tuple[Reward, ...] | RewardServiceError | PrefixLost:
        try:
            rewards = await self._engine.run(packed.frame)
            if len(rewards) == len(packed.jobs):
                return rewards
            return EngineFailure(f"the engine gave {len(rewards)} rewards for {len(packed.jobs)} pairs")
        except (RewardServiceError, PrefixLost) as error:
            return error
        except MemoryError:
            return OutOfMemory(f"the machine has no memory for a frame of {packed.frame.num_tokens} tokens")
        except Exception as error:  # the edge of the engine: whatever it is, nobody may be left without a reply
            return EngineFailure(f"the engine failed: {type(error).__name__}: {error}")

    def _settle(
        self,
        job_id: JobId,
        outcome: Reward | RewardServiceError,
        packed: PackedJob | None = None,
        queue_s: float = 0.0,
        compute_s: float = 0.0,
    ) -> None:
        """Tells everyone who waits for a job what became of it; its tokens are charged to the first of them."""
        for place, (ticket, index) in enumerate(self._ledger.settle(job_id)):
            computed = packed.computed_tokens if packed and place == 0 else 0
            reused = max(0, len(packed.job.pair.ids) - computed) if packed else 0
            self._outbox.put(ticket, Reply(index, outcome, computed, reused, place > 0, queue_s, compute_s))
