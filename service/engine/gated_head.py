"""A head of several objectives that are weighed by a gate, which reads the hidden state at a place in the prompt.

ArmoRM, QRM and their like: `score = sum(gate(prompt) * (objectives(last) @ transform))`.
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
        scale: (1,) fp32, or None for 1.
    """

    layers: tuple[HeadLayer, ...]
    temperature: float = 1.0
    scale: Tensor | None = None

    def __call__(self, hidden_1H: Tensor) -> Tensor:
        """The weights, (1, O) fp32."""
        weights_1O = torch.softmax(run_layers(self.layers, hidden_1H) / self.temperature, dim=1)
        return weights_1O if self.scale is None else weights_1O * self.scale


@dataclass(frozen=True, slots=True)
class GatedHead:
    """Reads two rows: where the score is read, and where the gate is.

    Attributes:
        layer: Hidden state to `objectives * quantiles` outputs, an objective's quantiles side by side.
        gate: Hidden state at the marker to the objectives' weights.
        transform_OO: The objectives' values are multiplied by it from the right, or None.
        objectives: Their names; `Reward.objectives` are their means over quantiles, before transform and gate.
        output: From the weighed sum, (1, 1), to the score.
    """

    layer: HeadLayer
    gate: Gate
    transform_OO: Tensor | None
    objectives: tuple[str, ...]
    output: Output

    @property
    def description(self) -> str:
        """The head in words."""
        return f"{describe_layers((self.layer,))}, {len(self.objectives)} objectives weighed by a gate"

    def reward(self, hidden_TH: Tensor, num_reads: int | None = None) -> Reward:
        """Reads the first row for the objectives, the second for the gate, each further one for `explain`."""
        weights_1O = self.gate(hidden_TH[1:2])
        values_1O = self._objectives(hidden_TH[:1])
        return Reward(
            score=self._score(values_1O, weights_1O),
            objectives=tuple(values_1O[0].tolist()),
            token_values=tuple(
                self._score(self._objectives(hidden_TH[row : row + 1]), weights_1O)
                for row in range(2, hidden_TH.shape[0])
            ),
        )

    def _objectives(self, hidden_1H: Tensor) -> Tensor:
        values = run_layers((self.layer,), hidden_1H)
        return values.reshape(1, len(self.objectives), -1).mean(dim=2)

    def _score(self, values_1O: Tensor, weights_1O: Tensor) -> float:
        adjusted_1O = values_1O if self.transform_OO is None else values_1O @ self.transform_OO
        return float(self.output((weights_1O * adjusted_1O).sum(dim=1, keepdim=True)))
