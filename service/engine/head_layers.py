"""The layers a head is made of, in fp32 and one row at a time: linear, activation, batch normalization as evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "none": lambda values: values,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "selu": F.selu,
}
"""By the manifest's word; `gelu` is the exact one, as transformers' word `gelu` means it."""

BATCH_NORM_EPSILON: Final = 1e-5
"""PyTorch's default, which no public head changes."""


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """A batch normalization in evaluation mode: a fixed affine map, whoever else is scored. All (O,), fp32."""

    weight_O: Tensor
    bias_O: Tensor
    mean_O: Tensor
    var_O: Tensor

    def __call__(self, values_1O: Tensor) -> Tensor:
        """Applies it to one row."""
        return F.batch_norm(
            values_1O, self.mean_O, self.var_O, self.weight_O, self.bias_O, training=False, eps=BATCH_NORM_EPSILON
        )


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """`norm(activation(x @ weight.T + bias))`; weight (O, I) and bias (O,) in fp32."""

    weight_OI: Tensor
    bias_O: Tensor | None = None
    activation: str = "none"
    norm: BatchNorm | None = None

    def __call__(self, values_1I: Tensor) -> Tensor:
        """Applies it to one row."""
        values = ACTIVATIONS[self.activation](F.linear(values_1I, self.weight_OI, self.bias_O))
        return values if self.norm is None else self.norm(values)


def run_layers(layers: Sequence[HeadLayer], hidden_1H: Tensor) -> Tensor:
    """One hidden state of any float dtype through layers in order; (1, O) in fp32."""
    values = hidden_1H.float()
    for layer in layers:
        values = layer(values)
    return values


def describe_layers(layers: Sequence[HeadLayer]) -> str:
    """Layers in words, such as `linear 64 -> 1024 with bias, relu; linear 1024 -> 1`."""
    return "; ".join(map(_words, layers))


def _words(layer: HeadLayer) -> str:
    bias = " with bias" if layer.bias_O is not None else ""
    activation = "" if layer.activation == "none" else f", {layer.activation}"
    norm = "" if layer.norm is None else ", batch norm"
    return f"linear {layer.weight_OI.shape[1]} -> {layer.weight_OI.shape[0]}{bias}{activation}{norm}"
