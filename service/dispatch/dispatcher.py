"""The asyncio shell around the scheduler: it owns the frames that run and the clock, and holds no policy.

Requests open a `Ticket`, enqueue pairs on it and await its replies in the order they finish. Whenever pairs arrive or a
frame is done, frames are taken from the waiting line and handed to the engine's threads. Shortly before a frame ends,
the next is packed if enough waits to fill it, so that the device never waits for packing; with less waiting, packing is
put off until the engine is free, so that what arrives meanwhile still gets in. There is no batching delay: an idle
engine starts at once. Nor are there tasks: each would cost a lone pair turns of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

from service.dispatch.answers import Answers
from service.dispatch.engine_thread import Computed, EngineThread
from service.dispatch.frame_report import FrameReport, judged, outcome_of, unfailing
from service.dispatch.ledger import Ledger, Reply, Ticket, pair_key
from service.dispatch.pace import AHEAD_S, HandedOver, Pace, may_pack
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


@dataclass(eq=False, slots=True)
class _Run:
    """What a frame was packed into: itself, or, once it has not fitted the memory, ever smaller ones."""

    taken_s: float
    left: list[PackedFrame]


class Dispatcher:
    """Owns the waiting line, the frames that run, and the ledger of who waits for what."""

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
        self._cache = ScoreCache(max_pairs=0) if cache is None else cache
        self._answers = Answers(self._ledger, self._cache)
        self._directory = PrefixDirectory() if directory is None else directory
        self._job_ids = count()
        self._on_frame = unfailing(on_frame)
        self._clock = clock
        self._pace = Pace(clock, engine.num_lanes)
        self._is_open = False
        self._num_running = 0
        self._looks_again: asyncio.TimerHandle | None = None
        self._will_look = False
        self._all_done: asyncio.Future[None] | None = None
        self._refusal: RewardServiceError | None = None

    @property
    def is_alive(self) -> bool:
        """Whether an enqueued pair would be answered."""
        return self._is_open and self._engine.is_alive

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
        self._is_open = True
        self._take_frames()

    def enqueue(self, ticket: Ticket, index: int, pair: EncodedPair) -> None:
        """Puts a pair in line; its reply will come on the ticket under `index`.

        A pair whose finished score is kept is answered at once, one that is in flight for someone else with it. An idle
        engine starts at the next turn of the event loop: what is enqueued until then may go into one frame.
        """
        self._enqueue(ticket, index, pair)
        if not self._will_look:
            self._will_look = True
            asyncio.get_running_loop().call_soon(self._look)

    def enqueue_all(self, ticket: Ticket, pairs: Iterable[tuple[int, EncodedPair]]) -> None:
        """Enqueues pairs by their indices; an idle engine starts now, with as many of them as fit one frame."""
        for index, pair in pairs:
            self._enqueue(ticket, index, pair)
        self._take_frames()

    def _enqueue(self, ticket: Ticket, index: int, pair: EncodedPair) -> None:
        if self._refusal is not None:
            ticket.replies.put_nowait(Reply(index, self._refusal))
            return
        key = pair_key(pair, ticket.explain)
        kept = self._cache.get(key)
        if kept is not None:
            ticket.replies.put_nowait(Reply(index, kept, reused_tokens=len(pair.ids)))
        elif not self._ledger.join(key, ticket, index):
            job_id, group = JobId(next(self._job_ids)), group_of(pair)
            job = Job(
                job_id, pair, ticket.priority, self._clock(), ticket.deadline_s, group, ticket.explain, ticket.client
            )
            self._ledger.open(job, key, ticket, index)
            self._line.enqueue(job)

    def close_ticket(self, ticket: Ticket) -> None:
        """Forgets what a ticket still waits for: nobody reads its replies any more."""
        for job_id in self._ledger.leave(ticket):
            self._drop(job_id)

    async def close(self) -> None:
        """Takes no more frames, waits for those that run, and answers everyone still waiting with `cancelled`."""
        self._is_open = False
        self._stop_looking()
        if self._num_running:
            self._all_done = asyncio.get_running_loop().create_future()
            await self._all_done
        self.cancel_all()

    def cancel_all(self) -> None:
        """Answers everyone with `cancelled` now, those too whose frame is running. May be called more than once."""
        self._answer_all(Cancelled("the server is shutting down; this pair was not scored"))

    def _answer_all(self, error: RewardServiceError) -> None:
        """The end: everyone in line and everyone who comes later gets this error."""
        self._refusal = self._refusal or error
        for job_id in self._ledger.all_jobs():
            self._drop(job_id)
            self._answers.tell(job_id, error)
        self._answers.send()

    def _drop(self, job_id: JobId) -> None:
        """Takes a job out of the line, with what is kept for it alone."""
        self._line.drop(job_id)
        self._directory.release(job_id)

    def _look(self) -> None:
        self._will_look = False
        self._stop_looking()
        self._take_frames()

    def _take_frames(self) -> None:
        """Hands the engine what it may take now; if there is no engine, nobody is left without a reply."""
        if not self._line:
            return
        try:
            if not self._engine.is_alive:
                self._answer_all(EngineFailure(f"the engine thread is not running: {self._engine.ended_because}"))
            lanes, pace = self._engine.num_lanes, self._pace
            while self._is_open and self._line and may_pack(self._num_running, lanes, self._is_full(), pace):
                packed = self._next_frame()
                if packed is None:
                    break
                self._num_running += 1
                self._run_next(_Run(self._clock(), [packed]))
            self._look_again_in_time()
        except Exception as error:  # a fault of ours: without this, everyone would wait for their deadline
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        _logger.error("the dispatcher failed; nothing will be scored again", exc_info=error)
        self._is_open = False
        self._answer_all(EngineFailure(f"the dispatcher failed: {type(error).__name__}: {error}"))

    def _is_full(self) -> bool:
        """Whether what waits fills a frame."""
        return self._line.num_tokens >= self._limits.max_tokens

    def _look_again_in_time(self) -> None:
        """Where time alone will let the next frame be packed, sees to it that it is then."""
        if self._looks_again is None and self._is_full() and self._num_running == self._engine.num_lanes:
            ahead_s = self._pace.left_s() - AHEAD_S
            if ahead_s > 0:
                self._looks_again = asyncio.get_running_loop().call_later(ahead_s, self._look)

    def _stop_looking(self) -> None:
        if self._looks_again is not None:
            self._looks_again.cancel()
            self._looks_again = None

    def _next_frame(self) -> PackedFrame | None:
        """Drops what is late, then packs what goes next."""
        now_s = self._clock()
        for job in self._line.expire(now_s):
            waited_s = now_s - job.arrived_s
            self._directory.release(job.job_id)
            error = DeadlineExceeded(f"the deadline passed after {waited_s:.3f} s in the queue; not scored")
            self._answers.tell(job.job_id, error, queue_s=waited_s)
            self._answers.send()
        return take_frame(self._line, self._limits, now_s, self._directory)

    def _run_next(self, run: _Run) -> None:
        """Hands the next frame of a run to the engine."""
        packed = run.left.pop(0)
        self._stop_looking()
        handed_over = self._pace.hand_over(packed.frame.num_tokens)
        self._engine.hand_over(packed.frame, partial(self._note_computed, run, packed, handed_over))

    def _note_computed(self, run: _Run, packed: PackedFrame, handed_over: HandedOver, computed: Computed) -> None:
        """Answers a frame's pairs and takes the next frame."""
        try:
            self._note_outcome(run, packed, handed_over, computed)
            if run.left:
                self._run_next(run)
            else:
                self._num_running -= 1
        except Exception as error:
            self._num_running -= 1
            self._fail(error)
        self._stop_looking()
        self._take_frames()
        if self._all_done is not None and not self._num_running and not self._all_done.done():
            self._all_done.set_result(None)

    def _note_outcome(self, run: _Run, packed: PackedFrame, handed_over: HandedOver, computed: Computed) -> None:
        """Answers a frame's pairs, whatever became of it; one that does not fit the memory is to run in halves.

        These store nothing; what the frame computed in part waits for another.
        """
        report = None
        try:
            outcomes = judged(computed, packed.frame)
            report = self._noted(packed, handed_over, outcomes)
            if isinstance(outcomes, PrefixLost):
                self._put_back(packed.jobs)
            elif isinstance(outcomes, OutOfMemory) and len(packed.jobs) + len(packed.parts) > 1:
                run.left[:0] = self._halved(packed)
            else:
                self._answer(packed, outcomes, run.taken_s)
        except Exception as error:  # of what came back, or of ours: an answered pair is not in the ledger any more
            _logger.exception("a frame's outcome could not be used")
            failure = EngineFailure(f"the frame failed: {type(error).__name__}: {error}")
            self._answer(packed, failure, run.taken_s)
        if report is not None:  # after the replies at the next turn: nobody who asked waits for who counts
            asyncio.get_running_loop().call_soon(self._on_frame, report)

    def _halved(self, packed: PackedFrame) -> list[PackedFrame]:
        """Its halves; what fits neither, because what it relied on is gone, goes back to the line."""
        packed_again = halves(packed, self._limits.max_tokens, self._directory)
        fitted = {taken.job.job_id for half in packed_again for taken in half.jobs}
        self._put_back([taken for taken in packed.jobs if taken.job.job_id not in fitted])
        return list(packed_again)

    def _put_back(self, taken: Sequence[PackedJob]) -> None:
        """Returns jobs that were not answered to the line, as long as anyone waits for them."""
        self._line.put_back(each.job for each in taken if each.job.job_id in self._ledger)

    def _noted(
        self,
        packed: PackedFrame,
        handed_over: HandedOver,
        outcomes: tuple[Reward, ...] | RewardServiceError | PrefixLost,
    ) -> FrameReport:
        """Ends what a frame held; what whoever watches frames is to be told of it."""
        compute_s = self._pace.note_done(handed_over)
        if not isinstance(outcomes, tuple):
            self._directory.forget(store.slot for store in packed.frame.stores)
        for node in packed.used:
            self._directory.unpin(node)
        return FrameReport(len(packed.jobs), packed.frame.num_tokens, compute_s, outcome_of(outcomes))

    def _answer(self, packed: PackedFrame, outcomes: tuple[Reward, ...] | RewardServiceError, taken_s: float) -> None:
        """Tells the askers of a frame's pairs what became of them; of one computed in part, only that it failed."""
        now_s = self._clock()
        self._answers.tell_of_frame(packed, outcomes, taken_s, now_s)
        if isinstance(outcomes, RewardServiceError):
            for job in packed.parts:
                self._drop(job.job_id)
                self._answers.tell(job.job_id, outcomes, None, taken_s - job.arrived_s, now_s - taken_s)
        self._answers.send()
