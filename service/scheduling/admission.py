"""Accepts or refuses a request as a whole, on tokens and pairs, before any work is done.

A request is admitted on an upper bound made from bytes; the bound is corrected once its pairs are tokenized,
and given back as they finish. The drain rate of the last seconds tells a refused caller when to come back.
Decisions only: time is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from service.errors import Overloaded
from service.scheduling.fair_share import Held, may_hold

MAX_RETRY_AFTER_S = 30
"""Trainers sleep as long as they are told; longer than this would cost more than asking again."""

DRAIN_HALF_LIFE_S = 5.0
"""The drain rate forgets half of what it saw in this time: a few frames on a CPU, many on a GPU."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may be admitted and not yet answered."""

    max_tokens: int
    max_pairs: int


@dataclass(slots=True)
class DrainRate:
    """Tokens answered per second, exponentially forgetting."""

    tokens_per_s: float = 0.0
    _since_s: float | None = None

    def note(self, num_tokens: int, now_s: float) -> None:
        """Records that `num_tokens` were answered just now."""
        if self._since_s is None:
            self._since_s = now_s
            return
        elapsed_s = max(now_s - self._since_s, 1e-6)
        weight = 1.0 - 0.5 ** (elapsed_s / DRAIN_HALF_LIFE_S)
        self.tokens_per_s += weight * (num_tokens / elapsed_s - self.tokens_per_s)
        self._since_s = now_s


@dataclass(slots=True)
class Admission:
    """Counts what is admitted and not yet answered, and refuses what would pass the limits.

    A request larger than the whole queue is admitted when the queue is empty: it can be served, and refusing it
    for ever would help nobody. What one client may hold while others wait, `fair_share` says.
    """

    limits: QueueLimits
    num_tokens: int = 0
    num_pairs: int = 0
    drain: DrainRate = field(default_factory=DrainRate)
    _pairs: Held = field(default_factory=Held)
    _tokens: Held = field(default_factory=Held)

    def admit(self, num_pairs: int, num_tokens: int, client: str = "") -> None:
        """Reserves room for a request of a client.

        Raises:
            Overloaded: If there is none; nothing was reserved.
        """
        if not self.try_admit(num_pairs, num_tokens, client):
            raise self.refusal(num_pairs, num_tokens)

    def try_admit(self, num_pairs: int, num_tokens: int, client: str = "") -> bool:
        """Reserves room for a request of a client; False if there is none, and nothing was reserved."""
        fits = self.fits(num_pairs, num_tokens, client)
        if fits:
            self._add(num_pairs, num_tokens, client)
        return fits

    def fits(self, num_pairs: int, num_tokens: int, client: str = "") -> bool:
        """Whether `admit` would take it."""
        if not self.num_pairs:
            return True
        num_clients = self._pairs.num_clients_with(client)
        pairs, tokens = self._pairs.of(client), self._tokens.of(client)
        return may_hold(pairs, self.num_pairs, num_pairs, self.limits.max_pairs, num_clients) and may_hold(
            tokens, self.num_tokens, num_tokens, self.limits.max_tokens, num_clients
        )

    def correct(self, bound_tokens: int, actual_tokens: int, client: str = "") -> None:
        """Replaces a reservation's upper bound by what tokenizing found."""
        self._add(0, actual_tokens - bound_tokens, client)

    def release(self, num_pairs: int, num_tokens: int, client: str = "") -> None:
        """Gives back what was answered, refused or cancelled."""
        self._add(-num_pairs, -num_tokens, client)

    def refusal(self, num_pairs: int, num_tokens: int) -> Overloaded:
        """What a request is told that does not fit now, and when to come back."""
        return Overloaded(self._refusal(num_pairs, num_tokens), retry_after_s=self._retry_after_s(num_tokens))

    def _add(self, num_pairs: int, num_tokens: int, client: str) -> None:
        self.num_pairs += num_pairs
        self.num_tokens += num_tokens
        if num_pairs:
            self._pairs.add(client, num_pairs)
        self._tokens.add(client, num_tokens)

    def _refusal(self, num_pairs: int, num_tokens: int) -> str:
        return (
            f"the queue is full: this request brings {num_pairs} pairs of at most {num_tokens} tokens; "
            f"waiting are {self.num_pairs} pairs of {self.num_tokens} tokens, "
            f"allowed are {self.limits.max_pairs} pairs and {self.limits.max_tokens} tokens, "
            "shared evenly among clients"
        )

    def _retry_after_s(self, num_tokens: int) -> int:
        over = min(self.num_tokens + num_tokens, self.limits.max_tokens) - self.limits.max_tokens // 2
        if self.drain.tokens_per_s <= 0.0:
            return 1
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(over / self.drain.tokens_per_s)))
