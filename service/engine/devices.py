"""What the machine has to compute with, and what an engine takes of it when nobody says otherwise."""

from __future__ import annotations

import torch

from service.errors import SettingsError

CPU_FRAME_TOKENS = 1024
"""A core's matrix products reach their full rate at a few hundred rows; larger frames cost whoever comes next the time
of one. What responses share is shared across frames, too."""

CUDA_FRAME_TOKENS = 16_384
"""Enough rows to fill an accelerator of today with a 7B model, at some tens of milliseconds a frame."""


CPU_KEPT_BYTES = 2**28
"""Keys and values a processor keeps for prompts: hundreds of prompts of a small model. What pays is that the members
of a group, which arrive within seconds, find their prompt."""

CUDA_KEPT_SHARE = 0.15
"""Part of an accelerator's memory for the same."""


def resolve_device(wanted: str) -> str:
    """The device to use, in torch's words; `auto` takes the first CUDA device, else the processor.

    Raises:
        SettingsError: If the device is not there.
    """
    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if "," in wanted:
        raise SettingsError(f"device: given {wanted!r}; allowed is one device for each process so far", param="device")
    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    allowed = ["auto", "cpu", *(f"cuda:{index}" for index in range(num_cuda))]
    device = "cuda:0" if wanted == "cuda" else wanted
    if device not in allowed:
        raise SettingsError(f"device: given {wanted!r}; this machine has {', '.join(allowed)}", param="device")
    return device


_NUM_CORES = torch.get_num_threads()
"""Asked once: engines tell torch to use fewer."""


def default_num_threads() -> int:
    """How many cores an engine uses on the processor: as many physical ones as torch finds."""
    return _NUM_CORES


def default_frame_tokens(device: str) -> int:
    """How many tokens a frame holds on this kind of device when nobody says otherwise."""
    return CPU_FRAME_TOKENS if device == "cpu" else CUDA_FRAME_TOKENS


def default_kept_tokens(device: str, bytes_per_token: int, max_tokens: int) -> int:
    """How many tokens of prompts are kept on this device when nobody says otherwise; at least two longest pairs."""
    if device == "cpu":
        num_bytes = CPU_KEPT_BYTES
    else:
        num_bytes = int(torch.cuda.get_device_properties(device).total_memory * CUDA_KEPT_SHARE)
    return max(num_bytes // bytes_per_token, 2 * max_tokens)
