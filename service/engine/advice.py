"""What start-up says to whoever runs a model on a processor: whether another number format would multiply faster there.

Said, never done: the format is part of what a score depends on, and belongs to whoever chose it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

ROWS = 256
MOST_OUTPUTS = 1024
REPEATS = 5

WORTH_SAYING = 1.25
"""Times as fast; less may be noise."""

SecondsOf = Callable[[torch.dtype, int, int], float]
"""Seconds of a product of `ROWS` rows in a format, from so many inputs to so many outputs."""


def seconds_of_product(dtype: torch.dtype, inputs: int, outputs: int) -> float:
    """As `SecondsOf`, measured once, on however many threads torch has here."""
    rows, weight = torch.ones(ROWS, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype)
    started = time.perf_counter()
    with torch.inference_mode():
        F.linear(rows, weight)
    return time.perf_counter() - started


def dtype_advice(config: Any, dtype: torch.dtype, seconds_of: SecondsOf = seconds_of_product) -> str | None:
    """What to say of a model in `dtype` on this processor; None if the other format would not be clearly faster.

    Some processors multiply bfloat16 many times as fast as float32 (AMX, AVX512_BF16), others at half its rate or less.

    Args:
        config: The backbone's.
    """
    other = torch.bfloat16 if dtype is torch.float32 else torch.float32
    inputs = int(config.hidden_size)
    outputs = min(int(getattr(config, "intermediate_size", inputs)), MOST_OUTPUTS)
    ratios = []
    for _ in range(REPEATS + 1):
        ratios.append(seconds_of(dtype, inputs, outputs) / seconds_of(other, inputs, outputs))
    ratio = statistics.median(ratios[1:])  # the first may load a library
    if ratio < WORTH_SAYING:
        return None
    memory = "twice" if other is torch.float32 else "half"
    return (
        f"this processor multiplies {_name(other)} {ratio:.1f} times as fast as {_name(dtype)}: --dtype {_name(other)} "
        f"would be faster, take {memory} the memory for weights, and give other scores"
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
