"""What a frame gave, and what is told of it to whoever watches: metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from service.engine.protocol import PrefixLost
from service.errors import NonFinite, RewardServiceError
from service.types import FRAME_OK, Reward

PREFIX_LOST: Final = "prefix_lost"
"""The frame leaned on keys and values that are not kept any more: it computed nothing, and its pairs go again."""


@dataclass(frozen=True, slots=True)
class FrameReport:
    """One frame that ran. `outcome` is `FRAME_OK`, `PREFIX_LOST` or an error code."""

    num_pairs: int
    num_tokens: int
    compute_s: float
    outcome: str


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
