"""Tells everyone who waits for a pair what became of it."""

from __future__ import annotations

from service.dispatch.frame_report import finite
from service.dispatch.ledger import Ledger, Reply, pair_key
from service.dispatch.outbox import Outbox
from service.dispatch.score_cache import ScoreCache
from service.errors import RewardServiceError
from service.scheduling.jobs import JobId
from service.scheduling.packing import PackedFrame, PackedJob
from service.types import Reward


class Answers:
    """The way from what the engine said back to those who asked. What is told travels once `send` is called."""

    def __init__(self, ledger: Ledger, cache: ScoreCache) -> None:
        self._ledger = ledger
        self._cache = cache
        self._outbox = Outbox()

    def tell_of_frame(
        self, packed: PackedFrame, outcomes: tuple[Reward, ...] | RewardServiceError, taken_s: float, now_s: float
    ) -> None:
        """Tells the askers of a frame's pairs, and keeps finite rewards.

        Args:
            taken_s: When the frame was taken from the line.
            now_s: When the engine was done with it.
        """
        for place, taken in enumerate(packed.jobs):
            job = taken.job
            outcome = outcomes if isinstance(outcomes, RewardServiceError) else finite(outcomes[place])
            if isinstance(outcome, Reward):
                self._cache.put(pair_key(job.pair, job.explain), outcome)
            self.tell(job.job_id, outcome, taken, taken_s - job.arrived_s, now_s - taken_s)

    def tell(
        self,
        job_id: JobId,
        outcome: Reward | RewardServiceError,
        packed: PackedJob | None = None,
        queue_s: float = 0.0,
        compute_s: float = 0.0,
    ) -> None:
        """Tells everyone who waits for a job; its tokens are charged to the first of them."""
        computed = packed.computed_tokens if packed else 0
        num_tokens = len(packed.job.pair.ids) if packed else 0
        is_duplicate = False
        for ticket, index in self._ledger.settle(job_id):
            reused = max(0, num_tokens - computed)
            self._outbox.put(ticket, Reply(index, outcome, computed, reused, is_duplicate, queue_s, compute_s))
            computed, is_duplicate = 0, True

    def send(self) -> None:
        """Sends what was told on its way: the first few requests learn of it now."""
        self._outbox.send()
