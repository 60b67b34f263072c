"""What is done to a head's outputs to make one score; each a pure function of a (1, O) fp32 row.

Also how a process model's values, one a step, become the pair's score. Which model wants which is in its manifest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

Output = Callable[[Tensor], Tensor]
"""From (1, O) to a scalar tensor."""

NORMALIZER_EPSILON: Final = 1e-8
"""What PKU-Alignment's safe-rlhf adds to the deviation before dividing by it (`models/normalizer.py`)."""


def raw() -> Output:
    """The one output as it is."""
    return lambda values_1O: values_1O[0, 0]


def affine(scale: float, shift: float) -> Output:
    """`value * scale + shift`."""
    return lambda values_1O: values_1O[0, 0] * scale + shift


def sigmoid() -> Output:
    """The logistic function of the one output."""
    return lambda values_1O: torch.sigmoid(values_1O[0, 0])


def negate() -> Output:
    """The one output with its sign turned."""
    return lambda values_1O: -values_1O[0, 0]


def standardized(mean: Tensor | None, var: Tensor) -> Output:
    """`(value - mean) / (sqrt(var) + 1e-8)`, or the same without the mean; statistics of one number each."""
    deviation = var.sqrt() + NORMALIZER_EPSILON
    shift = torch.zeros_like(var) if mean is None else mean
    return lambda values_1O: ((values_1O[0, 0] - shift) / deviation)[0]


def weighted_sum(weights: Sequence[float], like: Tensor) -> Output:
    """The outputs times fixed weights, summed; `like` says on which device."""
    weights_O = torch.tensor(weights, dtype=torch.float32, device=like.device)
    return lambda values_1O: (values_1O[0] * weights_O).sum()


def probability(index: int) -> Output:
    """The softmax over the outputs, at one of them."""
    return lambda values_1O: torch.softmax(values_1O[0], dim=0)[index]


STEP_RULES: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "last": lambda values: values[-1],
    "min": min,
    "product": math.prod,
    "mean": lambda values: math.fsum(values) / len(values),
}
"""How one score is made of the steps' values, at least one, in order."""
