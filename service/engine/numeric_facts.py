"""What a score may depend on besides the pair and the weights, as far as libraries and machine decide it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import torch
import transformers


def numeric_mode(
    dtype: torch.dtype,
    device: torch.device,
    *,
    num_threads: int,
    attention: str,
    linear: str,
    frame_sizes: Sequence[int],
    shortcuts: str = "none",
) -> dict[str, str]:
    """The engine's numeric mode as flat text pairs, hashed into every fingerprint."""
    mode = {
        "dtype": str(dtype).removeprefix("torch."),
        "device": device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "attention": attention,
        "linear": linear,
        "shortcuts": shortcuts,
        "frame_sizes": ",".join(map(str, frame_sizes)),
    }
    if device.type == "cpu":
        mode["cpu"] = torch.backends.cpu.get_cpu_capability()
        mode["threads"] = str(num_threads)
        mode["mkl_cbwr"] = os.environ.get("MKL_CBWR", "unset") if _has_mkl() else "no mkl"
    return mode


def device_name(device: torch.device) -> str:
    """Processor or accelerator model, as the system names it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


def _has_mkl() -> bool:
    return bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
