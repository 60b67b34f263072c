"""One request's worth of pairs, from its first attempt to its last: bookkeeping without decisions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Generic

from reward_client._pairs import EncodedPair
from reward_client._retry import RetryState
from reward_client._wire import R


@dataclass
class Work(Generic[R]):
    """One request's worth of pairs, from the first attempt to the last.

    Attributes:
        pairs: What the present attempt sends.
        retry: Its failures so far.
        attempt: The attempt under way; 0 while it waits for `try_at`.
        unanswered: By place in `pairs`, those that this attempt has not answered yet.
        failed: Results of this attempt that say the pair may be sent again.
    """

    pairs: list[EncodedPair]
    retry: RetryState
    attempt: int = 0
    try_at: float = -math.inf
    unanswered: dict[int, EncodedPair] = field(default_factory=dict)
    failed: list[tuple[EncodedPair, R]] = field(default_factory=list)

    def begin(self, attempt: int) -> None:
        """Starts an attempt with whatever the last one left over."""
        self.attempt = attempt
        self.unanswered = dict(enumerate(self.pairs))
        self.failed = []

    def end(self, try_at: float) -> None:
        """Ends the attempt; what it did not settle will be sent again at `try_at`."""
        self.pairs = self.unsettled
        self.attempt = 0
        self.try_at = try_at

    @property
    def unsettled(self) -> list[EncodedPair]:
        """The pairs without a final result, in the order they were sent."""
        if self.attempt == 0:
            return self.pairs
        return sorted([*self.unanswered.values(), *(pair for pair, _ in self.failed)], key=lambda pair: pair.index)

    @property
    def is_settled(self) -> bool:
        """Whether every pair of the present attempt has its final result."""
        return bool(self.pairs) and not self.unanswered and not self.failed
