"""Linear maps by oneDNN on the CPU: weights laid out once; products and sums that follow a map done in the same pass.

Measured on AVX2 against MKL's product of the same sizes: 1.15 to 1.25 times as fast, and every row has the same
bits whatever the number of rows, 1 to 4,160 (MKL needs `STRICT` and rows in multiples for it). The operators are
the ones that `torch.compile` emits; private, so they are tried on each weight's shape before they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

MODE = "onednn, silu by torch"
"""Its name in the numeric mode."""

LAYOUT_ROWS = 512
"""Row count the weights are laid out for. It decides nothing but speed, and little of that between 64 and 2,048."""

TRIED_ROWS = (32, 64, 96, 384)
"""Row counts whose bits must equal those of the largest of them in a larger product. All rows come in multiples of the
first (`lanes.BLOCK_ROWS`, `frame_sizes`), so that torch's vectors hold whole rows."""


class PackedLinear:
    """One or several linear maps of the same input, side by side; (N, inputs) in, (N, outputs) out, fp32."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous(), LAYOUT_ROWS)
        self._bias = bias_O

    def __call__(self, x_NI: Tensor) -> Tensor:
        """`x W^T + b`."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, self._weight, self._bias, "none", [], "")
        return result

    def silu(self, x_NI: Tensor) -> Tensor:
        """`silu(x W^T + b)`; by torch, since oneDNN's own takes 6 ns a number on AVX2 and torch's 1 ns."""
        return torch.nn.functional.silu(self(x_NI), inplace=True)

    def times(self, x_NI: Tensor, other_NO: Tensor) -> Tensor:
        """`(x W^T + b) * other`."""
        return self._with("mul", x_NI, other_NO)

    def plus(self, x_NI: Tensor, other_NO: Tensor) -> Tensor:
        """`(x W^T + b) + other`."""
        return self._with("add", x_NI, other_NO)

    def _with(self, operation: str, x_NI: Tensor, other_NO: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, other_NO, self._weight, self._bias, operation)
        return result


def side_by_side(*maps: tuple[Tensor, Tensor | None]) -> PackedLinear:
    """Joins (weight, bias) pairs of maps of one input into one map."""
    weights, biases = zip(*maps, strict=True)
    if all(bias is None for bias in biases):
        return PackedLinear(torch.cat(weights), None)
    filled = [weight.new_zeros(weight.shape[0]) if bias is None else bias for weight, bias in maps]
    return PackedLinear(torch.cat(weights), torch.cat(filled))


WORTH_PACKING = 1 << 20
"""Weights a layer's maps must have together for packing to be worth it. oneDNN adds up a row's products in fewer
partial sums than MKL (rms error 1.7 times MKL's at 512 inputs), so that scores lie further from transformers' own fp32:
up to 2.7e-5 for the demo model, whose layers are small enough to gain little, instead of 1.4e-5."""


def can_pack(linears: Sequence[nn.Module], min_weights: int = WORTH_PACKING) -> bool:
    """Whether a layer's maps are plain fp32 on the CPU, large enough, and right and row by row alike by oneDNN."""
    if not (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return False
    if any(type(linear) is not nn.Linear for linear in linears):
        return False
    weights = [linear.weight for linear in linears if isinstance(linear, nn.Linear)]
    if any(weight.dtype != torch.float32 or weight.device.type != "cpu" for weight in weights):
        return False
    if sum(weight.numel() for weight in weights) < min_weights:
        return False
    by_shape = {tuple(weight.shape): weight.detach() for weight in weights}
    return all(_rows_keep_their_bits(weight) for weight in by_shape.values())


def _rows_keep_their_bits(weight_OI: Tensor) -> bool:
    """Tries the operators on one weight: near `F.linear`, and the same bits for a row among few and among many."""
    x = torch.randn(max(TRIED_ROWS), weight_OI.shape[1], generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.linear(x, weight_OI)
    try:
        packed = PackedLinear(weight_OI, None)
        operators: list[Callable[[Tensor], Tensor]] = [
            packed.__call__,
            packed.silu,
            lambda rows: packed.times(rows, plain[: len(rows)]),
            lambda rows: packed.plus(rows, plain[: len(rows)]),
        ]
        wholes = [apply(x) for apply in operators]
    except RuntimeError:
        return False
    is_near = torch.allclose(wholes[0], plain, rtol=1e-4, atol=1e-4)
    return is_near and all(
        torch.equal(apply(x[:rows]), whole[:rows])
        for apply, whole in zip(operators, wholes, strict=True)
        for rows in TRIED_ROWS
    )
