"""What stands between a layer's maps, each compiled to one kernel: for half precision on accelerators.

Norm, rotary and the MLP's gate move rows through memory many times over in eager torch: of an H200's time on a 7B
frame of 16k tokens about a sixth, by its bandwidth (an estimate: no GPU has run this yet). Maps are the layer's own.
Compiled once for any number of rows, so that a row's bits do not depend on how many there are; warm-up measures that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.engine.layer_parts import Angles, PlainParts, rotated

RECOMPILE_LIMIT = 64
"""Kernels of one function, for all models of a process: each has its own widths. Torch gives up after 8."""


def rms_norm(rows: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axis, in fp32 up to the weight, as transformers does it."""
    wide = rows.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(rows.dtype)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """SiLU of one times the other."""
    return F.silu(gate) * up


class Fused:
    """The functions, compiled; the first call with rows of a new width takes seconds."""

    def __init__(self) -> None:
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
        self._norm, self._turn, self._gate = (_any_rows(function) for function in (rms_norm, rotated, gated))

    def norm(self, rows: Tensor, weight: Tensor, eps: float) -> Tensor:
        """`rms_norm`."""
        return self._norm(rows, fixed=(weight, eps))

    def turn(self, rows_NhD: Tensor, angles: Angles) -> Tensor:
        """`rotated`."""
        return self._turn(rows_NhD, *angles)

    def gate(self, gate: Tensor, up: Tensor) -> Tensor:
        """`gated`."""
        return self._gate(gate, up)


def _any_rows(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compiled once for any number of rows, the first dimension of every argument but the fixed ones."""
    compiled = torch.compile(function, fullgraph=True)

    def call(*rows: Tensor, fixed: tuple[Any, ...] = ()) -> Tensor:
        for each in rows:
            torch._dynamo.mark_dynamic(each, 0)
        return compiled(*rows, *fixed)

    return call


class FusedParts(PlainParts):
    """`PlainParts` with compiled norms, rotary and gate. The activation must be SiLU."""

    def __init__(self, layer: nn.Module, fused: Fused) -> None:
        super().__init__(layer)
        self._fused = fused

    def _normed(self, norm: Any, rows: Tensor) -> Tensor:
        return self._fused.norm(rows, norm.weight, float(norm.variance_epsilon))

    def _turned(self, rows_NhD: Tensor, angles: Angles) -> Tensor:
        return self._fused.turn(rows_NhD, angles)

    def _mlp(self, normed_NH: Tensor) -> Tensor:
        mlp = self.layer.mlp
        return mlp.down_proj(self._fused.gate(mlp.gate_proj(normed_NH), mlp.up_proj(normed_NH)))  # type: ignore[no-any-return]
