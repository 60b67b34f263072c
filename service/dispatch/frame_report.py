"""What a frame gave, and what is told of it to whoever watches: metrics."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.engine.protocol import PrefixLost
from service.errors import EngineFailure, NonFinite, OutOfMemory, RewardServiceError
from service.frame import Frame
from service.types import FRAME_OK, Reward

_logger = logging.getLogger(__name__)

PREFIX_LOST: Final = "prefix_lost"
"""The frame leaned on keys and values that are not kept any more: it computed nothing, and its pairs go again."""


@dataclass(frozen=True, slots=True)
class FrameReport:
    """One frame that ran. `outcome` is `FRAME_OK`, `PREFIX_LOST` or an error code."""

    num_pairs: int
    num_tokens: int
    compute_s: float
    outcome: str


def unfailing(on_frame: Callable[[FrameReport], None]) -> Callable[[FrameReport], None]:
    """The same for a listener that fails: its fault is logged and costs nobody a score."""

    def listen(report: FrameReport) -> None:
        try:
            on_frame(report)
        except Exception:
            _logger.exception("an observer failed on a frame")

    return listen


def judged(
    computed: tuple[Reward, ...] | Exception, frame: Frame
) -> tuple[Reward, ...] | RewardServiceError | PrefixLost:
    """What came of a frame: one reward for each of its pairs, an error of ours, or that it goes again.

    The edge of the engine: whatever it is, nobody may be left without a reply.
    """
    if isinstance(computed, tuple):
        if len(computed) == frame.num_pairs:
            return computed
        return EngineFailure(f"the engine gave {len(computed)} rewards for {frame.num_pairs} pairs")
    if isinstance(computed, RewardServiceError | PrefixLost):
        return computed
    if isinstance(computed, MemoryError):
        return OutOfMemory(f"the machine has no memory for a frame of {frame.num_tokens} tokens")
    return EngineFailure(f"the engine failed: {type(computed).__name__}: {computed}")


def outcome_of(outcomes: tuple[Reward, ...] | RewardServiceError | PrefixLost) -> str:
    """What the engine said of a frame, in a word."""
    if isinstance(outcomes, RewardServiceError):
        return outcomes.code
    return PREFIX_LOST if isinstance(outcomes, PrefixLost) else FRAME_OK


def finite(reward: Reward) -> Reward | NonFinite:
    """The reward, or the error that it is none."""
    values = (reward.score, *reward.objectives, *reward.steps)
    if all(map(math.isfinite, values)):
        return reward
    return NonFinite(f"the model's output for this pair is {reward.score}; a score must be finite")
