"""What an accelerator may do faster; taken only if it agrees with the model's plain forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from service.engine import decoder_layer, varlen
from service.engine.protocol import Progress
from service.engine.varlen import VarlenAttention

HALF_PRECISION = (torch.bfloat16, torch.float16)
"""fp32 is the mode that is compared with: there every operation is transformers' own."""


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """The ones taken.

    Attributes:
        varlen: Attention of many chunks in one call.
        is_fused: Whether what stands between the layers' maps is compiled.
    """

    varlen: VarlenAttention | None = None
    is_fused: bool = False

    def __str__(self) -> str:
        names = (["varlen attention"] if self.varlen is not None else []) + (["fused layers"] if self.is_fused else [])
        return " and ".join(names) or "none"


def may_take(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there are any for this device and dtype."""
    return device.type == "cuda" and dtype in HALF_PRECISION


def choose(
    backbone: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    check: Callable[[Shortcuts], None],
    progress: Progress,
) -> Shortcuts:
    """Takes as many shortcuts as pass; the backbone, whose layers are installed, is left as that needs.

    Args:
        check: Runs the model and raises if it is wrong.

    Raises:
        Exception: What `check` raised without any.
    """
    may = may_take(device, dtype)
    attention = varlen.find() if may else None
    for uses_varlen, fuses in ((True, True), (True, False), (False, True), (False, False)):
        if (uses_varlen and attention is None) or (fuses and not (may and decoder_layer.fuse(backbone))):
            continue
        taken = Shortcuts(attention if uses_varlen else None, fuses)
        if fuses:
            progress("compiling what stands between the layers' maps, which may take a minute")
        try:
            check(taken)
        except Exception as error:  # a kernel that is not there, or a wrong result
            if taken == Shortcuts():
                raise
            progress(f"not taken: {taken}: {error}")
            decoder_layer.unfuse(backbone)
        else:
            return taken
    raise AssertionError("the last way has no shortcut, and passed or raised")
