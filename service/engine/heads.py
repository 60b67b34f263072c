"""Reward heads: hidden states in, one reward a pair out, always in fp32 and one pair at a time.

A head sees the rows of a single pair, never a batch, so that its shapes, and with them its bits, do not depend
on who else is in the frame. At one row of H numbers a pair this costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from service.types import Reward


class Head(Protocol):
    """Turns the hidden states read for one pair into its reward."""

    @property
    def description(self) -> str:
        """The head in words, such as `linear 192 -> 1`."""

    def reward(self, hidden_TH: Tensor) -> Reward:
        """The pair's reward from the rows read, (T, H) in any float dtype."""


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A linear map of one hidden state to one number, and an affine output transform.

    Attributes:
        weight_OH: (1, H), fp32.
        bias_O: (1,), fp32, or None.
        scale, shift: `score = value * scale + shift`, in fp32; 1 and 0 leave the raw value.
    """

    weight_OH: Tensor
    bias_O: Tensor | None = None
    scale: float = 1.0
    shift: float = 0.0

    @property
    def description(self) -> str:
        """The head in words."""
        bias = " with bias" if self.bias_O is not None else ""
        return f"linear {self.weight_OH.shape[1]} -> {self.weight_OH.shape[0]}{bias}"

    def reward(self, hidden_TH: Tensor) -> Reward:
        """Reads the first row for the score and, where there are more, each further one for `explain`."""
        values = [self._value(hidden_TH[row : row + 1]) for row in range(hidden_TH.shape[0])]
        return Reward(score=values[0], token_values=tuple(values[1:]))

    def _value(self, hidden_1H: Tensor) -> float:
        value = F.linear(hidden_1H.float(), self.weight_OH, self.bias_O)
        if (self.scale, self.shift) != (1.0, 0.0):
            value = value * self.scale + self.shift
        return float(value)


def read_rewards(
    head: Head, hidden_NH: Tensor, read_rows: Sequence[int], read_bounds: Sequence[int]
) -> tuple[Reward, ...]:
    """The reward of each pair of a frame, in order.

    Args:
        hidden_NH: Hidden states of the frame, (N, H).
        read_rows: Rows read, pair after pair.
        read_bounds: One more than the number of pairs: where each pair's rows begin in `read_rows`.
    """
    rows = hidden_NH.index_select(0, torch.tensor(read_rows, dtype=torch.int64, device=hidden_NH.device))
    return tuple(head.reward(rows[start:stop]) for start, stop in pairwise(read_bounds))
