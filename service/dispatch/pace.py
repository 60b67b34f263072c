"""When the frame that runs will likely be done, by the time each token of the last one took."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Pace:
    """Watches frames go through an engine that takes them one after the other."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._token_s = 0.0
        self._free_since_s = float("-inf")
        self._handed_over: deque[tuple[int, float]] = deque()

    def hand_over(self, num_tokens: int) -> None:
        """Notes a frame that the engine takes now, or after those it has."""
        self._handed_over.append((num_tokens, self._clock()))

    def left_s(self) -> float:
        """Seconds until the oldest frame is done, if it goes as the last one did; not below 0, and 0 for the first."""
        if not self._handed_over:
            return 0.0
        num_tokens, handed_over_s = self._handed_over[0]
        return max(0.0, self._began_s(handed_over_s) + num_tokens * self._token_s - self._clock())

    def note_done(self) -> float:
        """Notes that the oldest frame is done; returns the seconds it took, less those it waited for another."""
        num_tokens, handed_over_s = self._handed_over.popleft()
        now_s = self._clock()
        took_s = now_s - self._began_s(handed_over_s)
        self._token_s, self._free_since_s = took_s / num_tokens, now_s
        return took_s

    def _began_s(self, handed_over_s: float) -> float:
        return max(handed_over_s, self._free_since_s)
