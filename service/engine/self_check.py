"""Compares the packed path with the model's plain forward at start-up, on random tokens.

An attention feature that were silently ignored (a window, soft-capping) would move hidden states by a large part
of their size, and is found here before the first request; rounding moves them by far less than the bounds below.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from service.engine import attention
from service.errors import EngineFailure
from service.frame import Frame

RELATIVE_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 0.15, torch.float16: 0.05}
"""Largest difference of any hidden value, as a part of the largest hidden value. fp32 paths were seen to differ
by up to 2e-5 of it, bf16 ones by up to 4e-2; an ignored sliding window by more than 0.5."""

CHECKED_LENGTHS = (1, 7, 130)
"""Lengths of the random sequences; a window shorter than the longest pair adds one that passes it."""


def compare_with_plain_forward(
    backbone: nn.Module, hidden_of: Callable[[Frame, Sequence[int]], Tensor], max_tokens: int, ladder: Sequence[int]
) -> None:
    """Raises if the packed attention and transformers' own disagree on this model.

    Raises:
        EngineFailure: With the length and the size of the difference.
    """
    rng = random.Random(0)
    vocab_size = int(backbone.config.vocab_size)  # type: ignore[union-attr, arg-type]
    bound = RELATIVE_BOUNDS[next(backbone.parameters()).dtype]
    for length in _lengths(backbone, max_tokens):
        ids = [rng.randrange(vocab_size) for _ in range(length)]
        sizes = ladder if length <= ladder[-1] else (length,)
        packed = hidden_of(_chain(ids, num_chunks=3), sizes)[:length].float()
        plain = _plain_hidden(backbone, ids).float()
        worst = float((packed - plain).abs().max() / plain.abs().max())
        if not worst <= bound:
            raise EngineFailure(
                f"packed attention differs from the model's plain forward by {worst:.1e} of the largest hidden "
                f"value at {length} tokens (allowed: {bound:.0e}); this model cannot be served by the packed path"
            )


def _lengths(backbone: nn.Module, max_tokens: int) -> Iterator[int]:
    yield from (length for length in CHECKED_LENGTHS if length <= max_tokens)
    window = getattr(backbone.config, "sliding_window", None)
    if window is not None and window + 16 <= max_tokens:
        yield window + 16


def _plain_hidden(backbone: nn.Module, ids: Sequence[int]) -> Tensor:
    """Hidden states (T, H) of one sequence by transformers' own SDPA path."""
    device = next(backbone.parameters()).device
    attention.use(backbone, "sdpa")
    try:
        output = backbone(input_ids=torch.tensor([list(ids)], device=device), use_cache=False)
    finally:
        attention.use(backbone, attention.ATTENTION_NAME)
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def _chain(ids: Sequence[int], num_chunks: int) -> Frame:
    """One sequence as a frame of up to `num_chunks` chunks, each the child of the one before."""
    bounds = sorted({len(ids) * part // num_chunks for part in range(num_chunks + 1)})
    num = len(list(pairwise(bounds)))
    return Frame(
        token_ids=tuple(ids),
        position_ids=tuple(range(len(ids))),
        chunk_bounds=tuple(bounds),
        parents=tuple(range(-1, num - 1)),
        sees_itself=(True,) * num,
        read_rows=(),
        read_bounds=(0,),
    )
