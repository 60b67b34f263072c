"""Plans a frame's chunks as runs of queries over runs of keys, for attention of many chunks at once (`varlen`).

Each run gets a copy of the keys it sees, end to end, so that a prompt is copied once for each response to it, at every
layer. So that this does not outgrow the frame, chunks that see too many keys are spread over several calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from service.engine.prefix_slots import PrefixSlots
from service.engine.spans import ChunkRuns, ChunkSpan, RunCall
from service.engine.varlen import MIN_MAX_QUERIES, Runs, VarlenAttention

KEYS_PER_ROW = 4
"""Most keys of one call for each row of the largest frame. A full frame of groups of eight responses of 150 tokens to
300 has 3; a call of more is so large that it loses nothing by being cut."""


@dataclass(frozen=True, slots=True)
class _CallPlan:
    """`RunCall` as plain integers; bounds count from its first row, and its first key."""

    rows: slice
    query_bounds: Sequence[int]
    key_bounds: Sequence[int]
    key_rows: Tensor | None
    slots: tuple[int, ...]

    @classmethod
    def of(cls, spans: Sequence[ChunkSpan], num_rows: int, kept: PrefixSlots) -> _CallPlan:
        """One call for chunks that lie end to end, over keys among the frame's rows and kept chunks behind them."""
        slots = tuple(dict.fromkeys(slot for span in spans for slot in span.slots))
        offsets = dict(zip(slots, accumulate(map(kept.num_tokens, slots), initial=num_rows), strict=False))
        pieces = [piece for span in spans for piece in _seen_by(span, offsets, kept)]
        first = spans[0].start
        return cls(
            slice(first, spans[-1].stop),
            [0, *(span.stop - first for span in spans)],
            [*accumulate(map(_num_keys, spans), initial=0)],
            torch.cat([torch.arange(start, stop) for start, stop in pieces]),
            slots,
        )

    @classmethod
    def of_whole_pairs(cls, spans: Sequence[ChunkSpan]) -> _CallPlan:
        """One call for chunks that see themselves alone: their keys are the frame's rows as they lie."""
        bounds = [0, *(span.stop for span in spans)]
        return cls(slice(0, bounds[-1]), bounds, bounds, None, ())


@dataclass(frozen=True, slots=True)
class RunPlan:
    """`ChunkRuns` as plain integers, before they are on the device."""

    attention: VarlenAttention
    calls: Sequence[_CallPlan]
    blind: tuple[ChunkSpan, ...]

    @classmethod
    def of(
        cls, attention: VarlenAttention, spans: Sequence[ChunkSpan], num_rows: int, most_rows: int, kept: PrefixSlots
    ) -> RunPlan:
        """Plans the runs of a frame's chunks, which lie end to end from row 0 of `num_rows`.

        Args:
            most_rows: Rows of the largest frame, which bound the keys of a call.
        """
        blind = tuple(span for span in spans if not span.sees_itself)
        if not blind and all(span.num_before == 0 for span in spans):
            return cls(attention, [_CallPlan.of_whole_pairs(spans)], blind)
        calls = [_CallPlan.of(some, num_rows, kept) for some in _spread(spans, KEYS_PER_ROW * most_rows)]
        return cls(attention, calls, blind)

    @property
    def numbers(self) -> Sequence[Tensor]:
        """What the device needs of it, int64: the bounds of every call, and all key rows if there are any."""
        bounds = torch.tensor([bound for call in self.calls for bound in (*call.query_bounds, *call.key_bounds)])
        key_rows = [call.key_rows for call in self.calls if call.key_rows is not None]
        return (bounds, torch.cat(key_rows)) if key_rows else (bounds,)

    def on_device(self, bounds: Tensor, key_rows: Tensor | None = None) -> ChunkRuns:
        """Puts the plan together with its `numbers`, as they are on the device."""
        of_calls = torch.split(bounds.to(torch.int32), [2 * len(call.query_bounds) for call in self.calls])
        rows_of: Sequence[Tensor | None] = [None] * len(self.calls)
        if key_rows is not None:
            rows_of = torch.split(key_rows, [call.key_bounds[-1] for call in self.calls])
        calls = [
            RunCall(call.rows, _runs(call, of_call.view(2, -1)), chosen, call.slots)
            for call, of_call, chosen in zip(self.calls, of_calls, rows_of, strict=True)
        ]
        return ChunkRuns(self.attention, calls, self.blind)


def _runs(call: _CallPlan, bounds: Tensor) -> Runs:
    longest = max(MIN_MAX_QUERIES, _longest(call.query_bounds))
    return Runs(bounds[0], bounds[1], longest, _longest(call.key_bounds))


def _spread(spans: Sequence[ChunkSpan], most_keys: int) -> Iterator[Sequence[ChunkSpan]]:
    """Chunks in their order, as many at once as see no more than `most_keys`, but one at least."""
    first, num_keys = 0, 0
    for place, span in enumerate(spans):
        num_keys += _num_keys(span)
        if place > first and num_keys > most_keys:
            yield spans[first:place]
            first, num_keys = place, _num_keys(span)
    yield spans[first:]


def _num_keys(span: ChunkSpan) -> int:
    """A blind chunk's run is over its own rows: what comes out of it is replaced."""
    return span.stop - span.start + (span.num_before if span.sees_itself else 0)


def _seen_by(span: ChunkSpan, offsets: dict[int, int], kept: PrefixSlots) -> list[tuple[int, int]]:
    """Where the keys that a chunk sees lie, in the order of its pair; of a blind one its own rows alone."""
    if not span.sees_itself:
        return [(span.start, span.stop)]
    of_slots = [(offsets[slot], offsets[slot] + kept.num_tokens(slot)) for slot in span.slots]
    return [*of_slots, *span.ancestors, (span.start, span.stop)]


def _longest(bounds: Sequence[int]) -> int:
    return max(stop - start for start, stop in pairwise(bounds))
