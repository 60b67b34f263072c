"""What the rest of the service knows of an engine: a few verbs and plain values.

`TorchEngine` computes, `FakeEngine` pretends; nothing above this line can tell which it has. An engine owns no
queue, no clock and no policy. Warm-up and close have it to themselves; so has each frame, unless `num_lanes` says
that several may run at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from service.frame import Frame
from service.types import EngineInfo, Reward

Progress = Callable[[str], None]
"""Told in words what start-up is doing; never called once the engine is warm."""


class PrefixLost(Exception):
    """A frame relies on a slot that holds nothing, because the frame that should have stored it failed."""


Compute = Callable[[], tuple[Reward, ...]]
"""Computes a frame that was taken in; to be called once, from any thread."""


class Engine(Protocol):
    """Runs frames in the order they are taken in, up to `num_lanes` at a time."""

    @property
    def num_lanes(self) -> int:
        """How many frames may be computed at once; final after `warm_up`."""

    def info(self) -> EngineInfo:
        """Describes the engine; complete only after `warm_up`."""

    def warm_up(self, progress: Progress) -> None:
        """Admits frame sizes, compiles what is to be compiled and touches all memory it will use.

        Raises:
            EngineFailure: If no frame size gives reproducible bits.
        """

    def begin(self, frame: Frame) -> Compute:
        """Takes a frame in, at once: frees what it drops and announces what it stores; computes nothing yet.

        Frames are begun in the order they were packed, and their computing starts in that order too. One may rely on
        what an earlier one is still computing: it waits for it.

        Returns:
            What gives the reward of each of the frame's pairs, in order, maybe not finite. It does not modify the
            frame, and keeps the chunks it is told to store and nothing else of it; if it raises, it has stored none.

        Raises:
            PrefixLost: If a slot the frame relies on holds nothing.
            OutOfMemory: If the device could not hold the frame; the engine stays usable.
            EngineFailure: If the forward pass raised.
        """

    def run(self, frame: Frame) -> tuple[Reward, ...]:
        """`begin(frame)()`."""

    def close(self) -> None:
        """Frees the device. The engine is not used afterwards."""
