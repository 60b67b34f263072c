"""Reward heads: hidden states in, one reward a pair out, always in fp32 and one pair at a time.

A head sees the rows of a single pair, never a batch, so that its shapes, and with them its bits, do not depend
on who else is in the frame. At one row of H numbers a pair this costs next to nothing. Here are the heads that
read a row at a time; one that weighs objectives by what it reads in the prompt is in `gated_head.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from service.engine import outputs
from service.engine.head_layers import HeadLayer, describe_layers, run_layers
from service.engine.outputs import STEP_RULES, Output
from service.types import Reward


class Head(Protocol):
    """Turns the hidden states read for one pair into its reward."""

    @property
    def description(self) -> str:
        """The head in words, such as `linear 192 -> 1`."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of `Reward.objectives`, in order; empty for a head of one output."""

    def reward(self, hidden_TH: Tensor, num_reads: int | None = None) -> Reward:
        """The pair's reward from the rows read.

        Args:
            hidden_TH: (T, H) in any float dtype.
            num_reads: How many of the rows are the readout's; each further one is a response token whose value
                goes into `token_values`. None: as many as the head needs.
        """


@dataclass(frozen=True, slots=True)
class RowHead:
    """Layers from one hidden state to O outputs, and an output transform to one number.

    Attributes:
        objectives: Names of the outputs, where each means something by itself.
    """

    layers: tuple[HeadLayer, ...]
    output: Output
    objectives: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The head in words."""
        return describe_layers(self.layers)

    def reward(self, hidden_TH: Tensor, num_reads: int | None = None) -> Reward:
        """Reads the first row for the score and, where there are more, each further one for `explain`."""
        outputs_1O = run_layers(self.layers, hidden_TH[:1])
        return Reward(
            score=float(self.output(outputs_1O)),
            objectives=tuple(outputs_1O[0].tolist()) if self.objectives else (),
            token_values=self.values(hidden_TH[1:]),
        )

    def values(self, hidden_TH: Tensor) -> tuple[float, ...]:
        """The number each row gives."""
        rows = range(hidden_TH.shape[0])
        return tuple(float(self.output(run_layers(self.layers, hidden_TH[row : row + 1]))) for row in rows)


class LinearHead(RowHead):
    """A linear map of one hidden state to one number, and an affine output transform: most reward models."""

    __slots__ = ()

    def __init__(
        self, weight_OH: Tensor, bias_O: Tensor | None = None, *, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        """Takes the weight, (1, H), the bias, (1,) or None, and `score = value * scale + shift`, all in fp32."""
        output = outputs.raw() if (scale, shift) == (1.0, 0.0) else outputs.affine(scale, shift)
        super().__init__((HeadLayer(weight_OH, bias_O),), output)


@dataclass(frozen=True, slots=True)
class StepHead:
    """A process model's head: one value for each step token, and a rule that makes one score of them."""

    step: RowHead
    rule: str
    objectives: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The head in words."""
        return f"{self.step.description}, at each step; score: {self.rule}"

    def reward(self, hidden_TH: Tensor, num_reads: int | None = None) -> Reward:
        """Reads `num_reads` rows as steps, all of them where it is None."""
        steps = self.step.values(hidden_TH[:num_reads])
        further = () if num_reads is None else self.step.values(hidden_TH[num_reads:])
        return Reward(score=STEP_RULES[self.rule](steps), steps=steps, token_values=further)


def read_rewards(
    head: Head,
    hidden_NH: Tensor,
    read_rows: Sequence[int],
    read_bounds: Sequence[int],
    read_counts: Sequence[int] = (),
) -> tuple[Reward, ...]:
    """The reward of each pair of a frame, in order.

    Args:
        hidden_NH: Hidden states of the frame, (N, H).
        read_rows: Rows read, pair after pair.
        read_bounds: One more than the number of pairs: where each pair's rows begin in `read_rows`.
        read_counts: For each pair how many of its rows are the readout's; empty where nobody asked to explain.
    """
    rows = hidden_NH.index_select(0, torch.tensor(read_rows, dtype=torch.int64, device=hidden_NH.device))
    counts: Sequence[int | None] = read_counts or [None] * (len(read_bounds) - 1)
    bounds = zip(pairwise(read_bounds), counts, strict=True)
    return tuple(head.reward(rows[start:stop], count) for (start, stop), count in bounds)
