"""The asyncio shell around the scheduler: the only place with tasks and futures, and no policy.

Requests open a `Ticket`, enqueue pairs on it and await its replies in the order they finish. One task takes frames
from the waiting line and hands them to the engine thread. While a frame runs, the next is packed as soon as enough
waits to fill it, so that the device never waits for packing; with less waiting, packing is put off until the engine
is free, so that what arrives meanwhile still gets in. There is no batching delay: an idle engine starts at once.
Every enqueued pair gets exactly one reply, or its ticket is closed by the one who would have read it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from service.dispatch.engine_thread import EngineThread
from service.errors import Cancelled, DeadlineExceeded, EngineFailure, NonFinite, RewardServiceError
from service.scheduling.admission import Admission
from service.scheduling.batcher import FrameLimits, take_frame
from service.scheduling.jobs import Job, JobId, group_of
from service.scheduling.packing import PackedFrame, PackedJob
from service.scheduling.waiting_line import WaitingLine
from service.types import EncodedPair, Priority, Reward

FRAMES_AHEAD = 2
"""Frames in the engine thread at once: the one that runs and the one packed while it runs."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one enqueued pair. `index` is the caller's own."""

    index: int
    outcome: Reward | RewardServiceError
    computed_tokens: int = 0
    reused_tokens: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FrameRun:
    """One frame that ran: for metrics."""

    num_pairs: int
    num_tokens: int
    compute_s: float
    outcome: str


@dataclass(eq=False, slots=True)
class Ticket:
    """One request's view of the dispatcher: what it has waiting, and the replies that have come."""

    priority: Priority
    deadline_s: float
    explain: bool = False
    replies: asyncio.Queue[Reply] = field(default_factory=asyncio.Queue)
    waiting: dict[JobId, int] = field(default_factory=dict)


class Dispatcher:
    """Owns the waiting line, the task that empties it, and the map from jobs to tickets."""

    def __init__(
        self,
        engine: EngineThread,
        limits: FrameLimits,
        admission: Admission,
        *,
        on_frame: Callable[[FrameRun], None] = lambda run: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._line = WaitingLine()
        self._tickets: dict[JobId, Ticket] = {}
        self._job_ids = count()
        self._has_work = asyncio.Event()
        self._on_frame = on_frame
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.admission = admission

    @property
    def is_alive(self) -> bool:
        """Whether an enqueued pair would be answered."""
        return self._task is not None and not self._task.done() and self._engine.is_alive

    @property
    def num_waiting(self) -> int:
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
        """Puts a pair at the end of the line; its reply will come on the ticket under `index`."""
        job = Job(
            job_id=JobId(next(self._job_ids)),
            pair=pair,
            priority=ticket.priority,
            arrived_s=self._clock(),
            deadline_s=ticket.deadline_s,
            group=group_of(pair),
            explain=ticket.explain,
        )
        ticket.waiting[job.job_id] = index
        self._tickets[job.job_id] = ticket
        self._line.enqueue(job)
        self._has_work.set()

    def close_ticket(self, ticket: Ticket) -> None:
        """Forgets what a ticket still waits for: nobody reads its replies any more."""
        for job_id in ticket.waiting:
            self._line.remove(job_id)
            self._tickets.pop(job_id, None)
        ticket.waiting.clear()

    async def close(self) -> None:
        """Ends the task and answers everyone still waiting with `cancelled`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for job_id, ticket in list(self._tickets.items()):
            self._reply(job_id, ticket, Cancelled("the server is shutting down; nothing was scored"))
            self._line.remove(job_id)

    async def _take_frames(self) -> None:
        """Keeps the engine busy until cancelled."""
        running: deque[asyncio.Task[None]] = deque()
        try:
            while True:
                while self._may_pack(len(running)) and (packed := self._next_frame()) is not None:
                    running.append(asyncio.create_task(self._run(packed)))
                if running and (len(running) >= FRAMES_AHEAD or not self._line):
                    await running.popleft()
                else:
                    await self._wait_for_work(running)
        finally:
            await asyncio.gather(*running, return_exceptions=True)

    def _may_pack(self, num_running: int) -> bool:
        """An idle engine takes anything; a busy one is packed ahead for only if a whole frame waits."""
        if num_running == 0:
            return True
        return num_running < FRAMES_AHEAD and self._line.num_tokens >= self._limits.max_tokens

    async def _wait_for_work(self, running: deque[asyncio.Task[None]]) -> None:
        """Sleeps until a pair arrives or the oldest running frame is done."""
        self._has_work.clear()
        arrival = asyncio.create_task(self._has_work.wait())
        await asyncio.wait({arrival, *list(running)[:1]}, return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        while running and running[0].done():
            running.popleft()

    def _next_frame(self) -> PackedFrame | None:
        """Drops what is late, then packs what goes next."""
        now_s = self._clock()
        for job in self._line.expire(now_s):
            waited_s = now_s - job.arrived_s
            self._reply_to(job, DeadlineExceeded(f"the deadline passed after {waited_s:.3f} s in the queue"), waited_s)
        return take_frame(self._line, self._limits, now_s)

    async def _run(self, packed: PackedFrame) -> None:
        """Runs one frame and answers its pairs, whatever happens."""
        taken_s = self._clock()
        outcomes: tuple[Reward, ...] | RewardServiceError
        try:
            outcomes = await self._engine.run(packed.frame)
        except RewardServiceError as error:
            outcomes = error
        except Exception as error:  # the edge of the engine: whatever it is, nobody may be left without a reply
            outcomes = EngineFailure(f"the engine failed: {type(error).__name__}: {error}")
        compute_s = self._clock() - taken_s
        outcome = outcomes.code if isinstance(outcomes, RewardServiceError) else "ok"
        self._on_frame(FrameRun(len(packed.jobs), packed.frame.num_tokens, compute_s, outcome))
        for place, taken in enumerate(packed.jobs):
            result = outcomes if isinstance(outcomes, RewardServiceError) else _finite(outcomes[place])
            self._reply_to(taken.job, result, taken_s - taken.job.arrived_s, compute_s, taken)

    def _reply_to(
        self,
        job: Job,
        outcome: Reward | RewardServiceError,
        queue_s: float,
        compute_s: float = 0.0,
        packed: PackedJob | None = None,
    ) -> None:
        ticket = self._tickets.get(job.job_id)
        if ticket is None:
            return
        computed, reused = (packed.computed_tokens, packed.reused_tokens) if packed else (0, 0)
        self._reply(job.job_id, ticket, outcome, computed, reused, queue_s, compute_s)

    def _reply(
        self,
        job_id: JobId,
        ticket: Ticket,
        outcome: Reward | RewardServiceError,
        computed_tokens: int = 0,
        reused_tokens: int = 0,
        queue_s: float = 0.0,
        compute_s: float = 0.0,
    ) -> None:
        """Answers one job, once: its entry is gone afterwards."""
        del self._tickets[job_id]
        index = ticket.waiting.pop(job_id)
        ticket.replies.put_nowait(Reply(index, outcome, computed_tokens, reused_tokens, queue_s, compute_s))


def _finite(reward: Reward) -> Reward | NonFinite:
    """The reward, or the error that it is none."""
    values = (reward.score, *reward.objectives, *reward.steps)
    if all(map(math.isfinite, values)):
        return reward
    return NonFinite(f"the model's output for this pair is {reward.score}; a score must be finite")
