"""Compares the packed path with the model's plain forward at start-up, on random tokens.

An attention feature that were silently ignored (a window, soft-capping) would move hidden states by a large part
of their size, and is found here before the first request; rounding moves them by far less than the bounds below.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from service.errors import EngineFailure
from service.frame import Frame

RELATIVE_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 0.15, torch.float16: 0.05}
"""Largest difference of any hidden value, as a part of the largest hidden value. fp32 paths were seen to differ
by up to 2e-5 of it, bf16 ones by up to 4e-2; an ignored sliding window by more than 0.5."""

CHECKED_LENGTHS = (1, 7, 130)
"""Lengths of the random sequences; a window shorter than the longest pair adds one that passes it."""


@dataclass(frozen=True, slots=True)
class PlainForward:
    """A random sequence and its hidden states (T, H) by transformers' own forward."""

    ids: tuple[int, ...]
    hidden_TH: Tensor


def plain_forwards(backbone: nn.Module, max_tokens: int) -> list[PlainForward]:
    """Runs random sequences through a backbone as it was loaded, before any of it is replaced."""
    rng = random.Random(0)
    vocab_size = int(backbone.config.vocab_size)  # type: ignore[union-attr, arg-type]
    sequences = [tuple(rng.randrange(vocab_size) for _ in range(length)) for length in _lengths(backbone, max_tokens)]
    return [PlainForward(ids, _plain_hidden(backbone, ids)) for ids in sequences]


def compare(
    plain: Sequence[PlainForward], hidden_of: Callable[[Frame, Sequence[int]], Tensor], ladder: Sequence[int]
) -> None:
    """Raises if the packed path and transformers' own disagree on a sequence.

    Raises:
        EngineFailure: With the length and the size of the difference.
    """
    for given in plain:
        length, expected = len(given.ids), given.hidden_TH.float()
        sizes = ladder if length <= ladder[-1] else (length,)
        packed = hidden_of(_chain(given.ids, num_chunks=3), sizes)[:length].float()
        worst = float((packed - expected).abs().max() / expected.abs().max())
        bound = RELATIVE_BOUNDS[given.hidden_TH.dtype]
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
    """Hidden states (T, H) of one sequence."""
    device = next(backbone.parameters()).device
    output = backbone(input_ids=torch.tensor([list(ids)], device=device), use_cache=False)
    hidden: Tensor = output.last_hidden_state[0].clone()
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
