"""What the machine's matrix products alone allow: tokens/s of a model's linear layers, measured shape by shape."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise

import torch

from benchmarks.engine_sides import Shape

REPEATS = 7


def linear_shapes(shape: Shape) -> list[tuple[int, int]]:
    """(inputs, outputs) of one layer's seven linear maps."""
    hidden, wide = shape.hidden, shape.intermediate
    return [(hidden, hidden)] * 4 + [(hidden, wide)] * 2 + [(wide, hidden)]


def flops_per_token(shape: Shape) -> int:
    """Floating-point operations of all linear layers for one token; embedding, attention and head left out."""
    return 2 * shape.layers * sum(inputs * outputs for inputs, outputs in linear_shapes(shape))


@torch.inference_mode()
def ceiling_tokens_per_s(shape: Shape, dtype: torch.dtype, device: str, rows: int) -> float:
    """Tokens a second if only the linear layers' matrix products had to be computed, `rows` rows at a time."""
    seconds = {pair: _median_s(pair, dtype, device, rows) for pair in set(linear_shapes(shape))}
    return rows / (shape.layers * sum(seconds[pair] for pair in linear_shapes(shape)))


def _median_s(pair: tuple[int, int], dtype: torch.dtype, device: str, rows: int) -> float:
    inputs, outputs = pair
    x = torch.randn(rows, inputs, device=device).to(dtype)
    weight = torch.randn(outputs, inputs, device=device).to(dtype)
    times = [time.perf_counter()]
    for _ in range(REPEATS + 1):
        torch.nn.functional.linear(x, weight)
        if x.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter())
    return statistics.median([after - before for before, after in pairwise(times)][1:])
