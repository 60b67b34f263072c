"""When a frame that runs will likely be done, by the time each token of the last one took; when to pack the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

AHEAD_S: Final = 0.1
"""So long before a frame's likely end the next is packed. Packed earlier, whoever arrives meanwhile would wait for a
whole frame more (median of interactive calls beside a bulk job, with frames of half a second: three frames instead of
two); packed later, the device would wait for a busy event loop. Nor does a free lane wait longer for a full one."""


@dataclass(eq=False, slots=True)
class HandedOver:
    """A frame in the engine's hands; `began_s` is None while it waits for another to be done."""

    num_tokens: int
    began_s: float | None = None


class Pace:
    """Watches frames go through an engine that takes them in order, `num_lanes` at a time."""

    def __init__(self, clock: Callable[[], float], num_lanes: int = 1) -> None:
        self._clock = clock
        self._num_lanes = num_lanes
        self._token_s = 0.0
        self._frames: list[HandedOver] = []

    def hand_over(self, num_tokens: int) -> HandedOver:
        """Notes a frame that the engine takes now, or once it is done with one of those it has."""
        frame = HandedOver(num_tokens)
        self._frames.append(frame)
        self._begin_some()
        return frame

    def left_s(self) -> float:
        """Seconds until one of the frames is done, if it goes as the last one did; not below 0, and 0 for the first."""
        now_s = self._clock()
        ends_s = [
            frame.began_s + frame.num_tokens * self._token_s for frame in self._frames if frame.began_s is not None
        ]
        return max(0.0, min(ends_s, default=now_s) - now_s)

    def note_done(self, frame: HandedOver) -> float:
        """Notes that a frame is done; returns the seconds it took, less those it waited for another."""
        self._frames.remove(frame)
        now_s = self._clock()
        took_s = 0.0 if frame.began_s is None else now_s - frame.began_s
        self._token_s = took_s / frame.num_tokens
        self._begin_some()
        return took_s

    def _begin_some(self) -> None:
        """The oldest begin, as many as there are lanes."""
        for frame in self._frames[: self._num_lanes]:
            if frame.began_s is None:
                frame.began_s = self._clock()


def may_pack(num_running: int, num_lanes: int, is_full: bool, pace: Pace) -> bool:
    """An idle engine takes anything; a busy one is packed ahead for if it is soon free and a whole frame waits.

    One that can run another frame at once takes a whole one, and anything unless it is soon idle.
    """
    if num_running == 0:
        return True
    if num_running < num_lanes:
        return is_full or pace.left_s() > AHEAD_S
    return num_running == num_lanes and is_full and pace.left_s() <= AHEAD_S
