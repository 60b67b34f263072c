"""What the rest of the service knows of an engine: four verbs and plain values.

`TorchEngine` computes, `FakeEngine` pretends; nothing above this line can tell which it has. An engine is used
by one thread at a time and owns no queue, no clock and no policy.
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


class Engine(Protocol):
    """Runs frames, one at a time, in the order given."""

    def info(self) -> EngineInfo:
        """Describes the engine; complete only after `warm_up`."""

    def warm_up(self, progress: Progress) -> None:
        """Admits frame sizes, compiles what is to be compiled and touches all memory it will use.

        Raises:
            EngineFailure: If no frame size gives reproducible bits.
        """

    def run(self, frame: Frame) -> tuple[Reward, ...]:
        """Computes one frame and returns the reward of each of its pairs, in order, maybe not finite.

        Does not modify the frame; keeps the chunks it is told to store, and nothing else of it. A frame that raised
        has stored nothing.

        Raises:
            PrefixLost: If a slot the frame relies on holds nothing.
            OutOfMemory: If the device could not hold the frame; the engine stays usable.
            EngineFailure: If the forward pass raised.
        """

    def close(self) -> None:
        """Frees the device. The engine is not used afterwards."""
