"""Attention of chunks far behind a prompt that they share: to the prompt all of them at once, to themselves each.

The two halves are put together by the log-sum-exp of their scores, as Flash-Decoding does with parts of a sequence
(Dao et al. 2023) and FlashInfer's cascade with shared prefixes (Ye et al. 2024). A chunk that is alone gains nothing;
sixteen of 100 rows behind 1,000 took 0.71 of the time of sixteen calls with a mask (AVX2, one core,
fp32): blocks of 256 rows instead of 32, the prompt's keys read once, no mask.

Whether a chunk is split is a matter of its own pair (`ChunkSpan.is_far`), so its bits may not depend on who stands
beside it. Torch's kernel gives a row the same bits in a block of 4 rows as in one of 256, but others in one of 1 to 3
rows, so blocks are whole multiples of `BLOCK_ROWS`; `joins_bits` measures at every start whether that is enough.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from service.engine.key_values import KeyValues
from service.engine.prefix_slots import PrefixSlots
from service.engine.spans import FAR_BEHIND, ChunkSpan

BLOCK_ROWS = 16
"""Also of a vector's width, so that no vectorised loop over rows ends with some that are computed one by one."""

MODE = f", split behind {FAR_BEHIND}"
"""What it adds to the attention's name in the numeric mode."""

_LENGTHS = (1, 2, 3, 16, 33, 100)
"""Chunks whose bits `joins_bits` compares; in any order some of them lie across two blocks of 32 rows."""

_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""What `scaled_dot_product_attention` calls on the processor; only this also gives the log-sum-exp."""


def is_for(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there is anything to split: in half precision two rounded halves would be less exact than a whole."""
    return device.type == "cpu" and dtype is torch.float32


def applies(query: Tensor, seen: KeyValues, window: int | None) -> bool:
    """Whether a layer's far chunks are split: only where they see every key before them."""
    return is_for(query.device, query.dtype) and window is None and query.shape[3] == seen.value_dim


def attend_siblings(
    query: Tensor, seen: KeyValues, siblings: Sequence[ChunkSpan], output: Tensor, *, scaling: float | None
) -> None:
    """Attention of chunks that lie end to end and continue the same rows.

    Args:
        query: (1, heads, N, head_dim), rotary applied.
        output: (1, N, heads, head_dim); the rows of `siblings` are written.
    """
    start, stop = siblings[0].start, siblings[-1].stop
    first, last = _whole_blocks(start, stop, query.shape[2])
    before_NhD, before_Nh = _scored(query[:, :, first:last], *seen.before(siblings[0]), scaling)
    own_Nh = torch.zeros_like(before_Nh)
    for span in siblings:
        queries = query[:, :, span.start : span.stop]
        output[0, span.start : span.stop], own_Nh[span.start - first : span.stop - first] = _scored(
            queries, *seen.own(span), scaling, is_causal=True
        )
    # exp(a) / (exp(a) + exp(b)) of the log-sum-exps is what the keys before it weigh in a row.
    weight_Nh = torch.sigmoid(before_Nh - own_Nh)[start - first : stop - first]
    own_NhD = output[0, start:stop]
    torch.lerp(own_NhD, before_NhD[start - first : stop - first], weight_Nh[:, :, None], out=own_NhD)


def joins_bits(num_heads: int, head_dim: int) -> bool:
    """Whether chunks get the same bits together as each alone, on this machine and with heads of this size."""
    rng, generator = random.Random(head_dim), torch.Generator().manual_seed(head_dim)
    lengths = [length for _ in range(3) for length in rng.sample(_LENGTHS, len(_LENGTHS))]
    bounds = [*accumulate(lengths, initial=FAR_BEHIND)]
    num_rows = -(-bounds[-1] // BLOCK_ROWS) * BLOCK_ROWS
    query, key, value = (torch.randn(1, num_heads, num_rows, head_dim, generator=generator) for _ in range(3))
    seen = KeyValues(key, value, PrefixSlots(1), 0, num_heads)
    spans = [ChunkSpan(*bound, FAR_BEHIND, ancestors=((0, FAR_BEHIND),)) for bound in pairwise(bounds)]

    def attended(families: Sequence[Sequence[ChunkSpan]]) -> Tensor:
        output = query.new_zeros(1, num_rows, num_heads, head_dim)
        for family in families:
            attend_siblings(query, seen, family, output, scaling=None)
        return output

    return torch.equal(attended([spans]), attended([[span] for span in spans]))


def _whole_blocks(start: int, stop: int, num_rows: int) -> tuple[int, int]:
    """As many whole blocks of rows as hold `[start, stop)`: from `start` on, or up to the last row; all if too few."""
    num_filled = min(-(-(stop - start) // BLOCK_ROWS) * BLOCK_ROWS, num_rows)
    first = min(start, num_rows - num_filled)
    return first, first + num_filled


def _scored(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, *, is_causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Attention (N, heads, head_dim), and the log-sum-exp of its scores (N, heads)."""
    attended, log_sums = _attention(query, key, value, 0.0, is_causal, scale=scaling)
    return attended[0].transpose(0, 1), log_sums[0].transpose(0, 1)
