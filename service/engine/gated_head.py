"""A head of several objectives that are weighed by a gate.

ArmoRM, QRM and their like: `score = sum(gate(prompt) * (objectives(last) @ transform))`, the gate read at a place in
the prompt. LDL-Reward: the gate is read where the score is, and an objective is the expectation of a distribution;
URM: the same, and of a normal distribution's two parameters the mean counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from service.engine.head_layers import HeadLayer, describe_layers, run_layers
from service.engine.outputs import Output
from service.types import Reward


@dataclass(frozen=True, slots=True)
class Gate:
    """`softmax(layers(hidden) / temperature) * scale`, one weight for each objective.

    Attributes:
        is_softmax: False where the layers' outputs are the weights as they are.
        scale: (1,) fp32, or None for 1.
    """

    layers: tuple[HeadLayer, ...]
    temperature: float = 1.0
    scale: Tensor | None = None
    is_softmax: bool = True

    def __call__(self, hidden_1H: Tensor) -> Tensor:
        """The weights, (1, O) fp32."""
        weights_1O = run_layers(self.layers, hidden_1H)
        if self.is_softmax:
            weights_1O = torch.softmax(weights_1O / self.temperature, dim=1)
        return weights_1O if self.scale is None else weights_1O * self.scale


@dataclass(frozen=True, slots=True)
class GatedHead:
    """Reads two rows: where the score is read, and where the gate is; or one for both.

    Attributes:
        layers: Hidden state to `objectives * quantiles` (or bins) outputs, those of one objective side by side.
        gate: Hidden state to the objectives' weights.
        transform_OO: The objectives' values are multiplied by it from the right, or None.
        objectives: Their names; `Reward.objectives` are their means over quantiles or bins, before transform
            and gate.
        output: From the weighed sum, (1, 1), to the score.
        has_gate_row: Whether the gate has a row of its own, the second.
        has_bins: Whether an objective's outputs are the logits of a distribution over points evenly from 0 to 1.
        has_spreads: Whether an objective's outputs are a mean, which counts, and a spread, which does not.
    """

    layers: tuple[HeadLayer, ...]
    gate: Gate
    transform_OO: Tensor | None
    objectives: tuple[str, ...]
    output: Output
    has_gate_row: bool = True
    has_bins: bool = False
    has_spreads: bool = False

    @property
    def description(self) -> str:
        """The head in words."""
        return f"{describe_layers(self.layers)}, {len(self.objectives)} objectives weighed by a gate"

    def reward(self, hidden_TH: Tensor, num_reads: int | None = None) -> Reward:
        """Reads the first row for the objectives, the gate's for the gate, each further one for `explain`."""
        gate_row = int(self.has_gate_row)
        weights_1O = self.gate(hidden_TH[gate_row : gate_row + 1])
        values_1O = self._objectives(hidden_TH[:1])
        return Reward(
            score=self._score(values_1O, weights_1O),
            objectives=tuple(values_1O[0].tolist()),
            token_values=tuple(
                self._score(self._objectives(hidden_TH[row : row + 1]), weights_1O)
                for row in range(gate_row + 1, hidden_TH.shape[0])
            ),
        )

    def _objectives(self, hidden_1H: Tensor) -> Tensor:
        values = run_layers(self.layers, hidden_1H).reshape(1, len(self.objectives), -1)
        if self.has_spreads:
            return values[:, :, 0]
        if not self.has_bins:
            return values.mean(dim=2)
        points = torch.linspace(0, 1, values.shape[2], device=values.device)
        return (torch.softmax(values, dim=2) * points).sum(dim=2)

    def _score(self, values_1O: Tensor, weights_1O: Tensor) -> float:
        adjusted_1O = values_1O if self.transform_OO is None else values_1O @ self.transform_OO
        return float(self.output((weights_1O * adjusted_1O).sum(dim=1, keepdim=True)))
