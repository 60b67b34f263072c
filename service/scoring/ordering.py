"""How scores become an order: pure functions of plain numbers, the same for every route that ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rank_order(scores: Sequence[float]) -> tuple[int, ...]:
    """Returns the indices of `scores`, best (largest) first; equal scores keep their input order.

    Raises:
        ValueError: If a score is NaN or infinite: such a list has no honest order.

    >>> rank_order([0.5, 2.0, 0.5])
    (1, 0, 2)
    """
    for index, score in enumerate(scores):
        if not math.isfinite(score):
            raise ValueError(f"scores[{index}] is {score}; only finite scores can be ranked")
    return tuple(sorted(range(len(scores)), key=lambda index: -scores[index]))


def margin(scores: Sequence[float]) -> float | None:
    """Returns best minus second best, never negative; None for fewer than two scores.

    >>> margin([0.5, 2.0, 1.5])
    0.5
    """
    order = rank_order(scores)
    if len(order) < 2:
        return None
    return scores[order[0]] - scores[order[1]]
