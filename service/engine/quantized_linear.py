"""Weight-only quantization of a backbone's linear layers: one byte a weight, one scale an output row.

A layer's weight is decoded into a buffer that all layers share, and the very matrix product runs that would run without
quantization, in the same dtype. So the decoded weights are all that differs: a score is as much a function of weights
and ids as before, and bits are as stable. It saves memory, not time. Embeddings, norms and the head stay as they are.

Symmetric, without a zero point: `weight[o, i] ~ code[o, i] * scale[o]`, with `scale[o] = max_i |weight[o, i]| / C` and
C the largest code: 127 for `int8` (as in LLM.int8(), arXiv:2208.07339), 448 for `fp8`, the e4m3 format without
infinities (arXiv:2209.05433). The scale is rounded to the backbone's dtype first and codes are chosen for the rounded
one: no row is stretched as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST_CODE: Mapping[str, float] = {"int8": 127.0, "fp8": 448.0}
"""The kinds of quantization, each with the largest magnitude of its codes."""

BLOCK_VALUES = 1 << 22
"""Weights that are quantized at a time: 16 MiB in fp32, however large the layer."""


@dataclass(slots=True)
class Scratch:
    """The one buffer that decoded weights live in, a layer at a time; as large as the largest layer seen. One
    thread at a time may run the backbone (`decoder_layer.runs_in_lanes`)."""

    values: Tensor | None = None

    def of_shape(self, shape: torch.Size, like: Tensor) -> Tensor:
        """A tensor of this shape with any content, in the dtype and on the device of `like`; the last one's is lost."""
        if self.values is None or self.values.numel() < shape.numel():
            self.values = None  # before the larger one is made
            self.values = torch.empty(shape.numel(), dtype=like.dtype, device=like.device)
        return self.values[: shape.numel()].view(shape)


class QuantizedLinear(nn.Module):
    """Stands in for a linear layer; (…, I) in, (…, O) out, in the dtype the layer had."""

    codes_OI: Tensor
    scale_O1: Tensor

    def __init__(self, linear: nn.Linear, kind: str, scratch: Scratch) -> None:
        """Takes over the layer's bias, and its weight as codes.

        Raises:
            ValueError: If a weight is not finite.
        """
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        codes_OI, scale_O1 = encode(linear.weight, kind)
        self.register_buffer("codes_OI", codes_OI)
        self.register_buffer("scale_O1", scale_O1)
        self.bias = linear.bias
        self._scratch = scratch

    def forward(self, rows: Tensor) -> Tensor:
        """Decodes the weight and multiplies."""
        weight_OI = self._scratch.of_shape(self.codes_OI.shape, like=self.scale_O1)
        return F.linear(rows, decode(self.codes_OI, self.scale_O1, out=weight_OI), self.bias)

    def extra_repr(self) -> str:
        """What `print` says of it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, {self.codes_OI.dtype}"


def quantize(backbone: nn.Module, kind: str) -> int:
    """Replaces every linear layer, one at a time, so that at most one is there twice; returns how many there were.

    Args:
        kind: One of `LARGEST_CODE`.

    Raises:
        ValueError: If a weight is not finite; names the layer. The backbone is not usable afterwards.
    """
    scratch = Scratch()
    names = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    for name in names:
        parent = backbone.get_submodule(name.rpartition(".")[0])
        linear = parent.get_submodule(name.rpartition(".")[2])
        if not isinstance(linear, nn.Linear):
            raise AssertionError(f"{name} was a linear layer a moment ago")
        try:
            setattr(parent, name.rpartition(".")[2], QuantizedLinear(linear, kind, scratch))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return len(names)


def encode(weight_OI: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Codes (O, I) in int8 or e4m3, and scales (O, 1) in the weight's dtype.

    Raises:
        ValueError: If a weight is not finite.
    """
    largest = LARGEST_CODE[kind]
    store = torch.int8 if kind == "int8" else torch.float8_e4m3fn
    codes_OI = torch.empty(weight_OI.shape, dtype=store, device=weight_OI.device)
    scale_O1 = torch.empty(weight_OI.shape[0], 1, dtype=weight_OI.dtype, device=weight_OI.device)
    num_rows = max(1, BLOCK_VALUES // weight_OI.shape[1])
    for start in range(0, weight_OI.shape[0], num_rows):
        block = slice(start, start + num_rows)
        values = weight_OI[block].float()
        scale = _scales(values, largest, weight_OI.dtype)
        scaled = (values / scale.float()).clamp_(-largest, largest)
        codes_OI[block] = (scaled.round_() if kind == "int8" else scaled).to(store)
        scale_O1[block] = scale
    return codes_OI, scale_O1


def _scales(values: Tensor, largest: float, dtype: torch.dtype) -> Tensor:
    """The scale of each row, (rows, 1), in the dtype that it will multiply in; 1 for a row of zeros."""
    peak = values.abs().amax(dim=1, keepdim=True)
    if not torch.isfinite(peak).all():
        raise ValueError("a weight is NaN or infinite")
    info = torch.finfo(dtype)
    scale = (peak / largest).to(dtype).clamp_(min=info.tiny * info.eps)  # the smallest number above zero
    return scale.masked_fill_(peak == 0, 1.0)


def decode(codes_OI: Tensor, scale_O1: Tensor, *, out: Tensor) -> Tensor:
    """Writes `codes * scale` into `out`, (O, I) of the scales' dtype, each product rounded once; returns it."""
    if codes_OI.dtype == torch.int8:
        return out.copy_(codes_OI).mul_(scale_O1)
    as_integers, shift, mask, factor = _E4M3_BITS[out.dtype]
    bits = out.view(as_integers)
    bits.copy_(codes_OI.view(torch.int8)).bitwise_left_shift_(shift).bitwise_and_(mask)
    return out.mul_(factor).mul_(scale_O1)


_E4M3_BITS: Mapping[torch.dtype, tuple[torch.dtype, int, int, float]] = {
    torch.float32: (torch.int32, 20, 0x87F0_0000 - 2**32, 2.0**120),
    torch.bfloat16: (torch.int16, 4, 0x87F0 - 2**16, 2.0**120),
    torch.float16: (torch.int16, 7, 0xBF80 - 2**16, 2.0**8),
}
"""How e4m3 becomes a wider format: the byte, sign extended and shifted until its mantissa's top bit lies where the
wider one's does; the mask leaves sign, exponent and mantissa; what is left to do is the difference of the exponents'
biases (7 here, 127 or 15 there), exact, also below the normal range. Torch casts at 14 ns a value on a CPU."""
