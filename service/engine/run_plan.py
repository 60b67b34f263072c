"""Plans a frame's chunks as runs of queries over runs of keys, for attention of a whole frame at once (`varlen`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from service.engine.prefix_slots import PrefixSlots
from service.engine.spans import ChunkRuns, ChunkSpan
from service.engine.varlen import MIN_MAX_QUERIES, Runs, VarlenAttention


@dataclass(frozen=True, slots=True)
class RunPlan:
    """`ChunkRuns` as plain integers, before they are on the device."""

    attention: VarlenAttention
    query_bounds: Sequence[int]
    key_bounds: Sequence[int]
    key_rows: Tensor | None
    slots: tuple[int, ...]
    blind: tuple[ChunkSpan, ...]

    @classmethod
    def of(cls, attention: VarlenAttention, spans: Sequence[ChunkSpan], num_rows: int, kept: PrefixSlots) -> RunPlan:
        """Plans the runs of a frame's chunks, which lie end to end from row 0 of `num_rows`."""
        slots = tuple(dict.fromkeys(slot for span in spans for slot in span.slots))
        offsets = dict(zip(slots, accumulate(map(kept.num_tokens, slots), initial=num_rows), strict=False))
        pieces: list[tuple[int, int]] = []
        key_bounds = [0]
        for span in spans:
            pieces += _seen_by(span, offsets, kept)
            key_bounds.append(key_bounds[-1] + span.stop - span.start + (span.num_before if span.sees_itself else 0))
        blind = tuple(span for span in spans if not span.sees_itself)
        query_bounds = [0, *(span.stop for span in spans)]
        is_plain = query_bounds == key_bounds
        key_rows = None if is_plain else torch.cat([torch.arange(start, stop) for start, stop in pieces])
        return cls(attention, query_bounds, key_bounds, key_rows, slots, blind)

    @property
    def numbers(self) -> Sequence[Tensor]:
        """What the device needs of it, int64: bounds, and key rows if there are any."""
        bounds = torch.tensor([*self.query_bounds, *self.key_bounds])
        return (bounds,) if self.key_rows is None else (bounds, self.key_rows)

    def on_device(self, bounds: Tensor, key_rows: Tensor | None = None) -> ChunkRuns:
        """Puts the plan together with its `numbers`, as they are on the device."""
        query_bounds, key_bounds = bounds.to(torch.int32).view(2, -1)
        longest = max(MIN_MAX_QUERIES, _longest(self.query_bounds))
        runs = Runs(query_bounds, key_bounds, longest, _longest(self.key_bounds))
        return ChunkRuns(self.attention, runs, key_rows, self.slots, self.blind)


def _seen_by(span: ChunkSpan, offsets: dict[int, int], kept: PrefixSlots) -> list[tuple[int, int]]:
    """Where the keys that a chunk sees lie, in the order of its pair; of a blind one its own rows alone."""
    if not span.sees_itself:
        return [(span.start, span.stop)]
    of_slots = [(offsets[slot], offsets[slot] + kept.num_tokens(slot)) for slot in span.slots]
    return [*of_slots, *span.ancestors, (span.start, span.stop)]


def _longest(bounds: Sequence[int]) -> int:
    return max(stop - start for start, stop in pairwise(bounds))
