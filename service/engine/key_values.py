"""The keys and values that one layer's chunks may see, laid end to end in the order of their pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from service.engine.prefix_slots import PrefixSlots
from service.engine.spans import ChunkSpan, RunCall

EVERY = slice(None)

Segment = int | tuple[int, int]
"""A kept chunk by its slot, or rows of the frame."""


class KeyValues:
    """Keys and values of one layer, (1, key/value heads, N, head_dim) each, and those kept of other frames.

    A chunk with nothing before it sees rows of the frame as they lie. Any other sees a copy: chunks that follow one
    another share what they have in common, so that a prompt is laid out once for all responses after it.
    """

    def __init__(
        self, key: Tensor, value: Tensor, kept: PrefixSlots, layer: int, num_heads: int, heads: slice = EVERY
    ) -> None:
        """`heads`: the key/value heads that `key` and `value` hold, of those that are kept."""
        self._rows = (key, value)
        self._heads = heads
        self._kept, self._layer = kept, layer
        self._num_groups = num_heads // key.shape[1]
        self._laid_out: tuple[Tensor, ...] = ()
        self._segments: Sequence[Segment] = ()

    @property
    def num_heads(self) -> int:
        """Key/value heads."""
        return self._rows[0].shape[1]

    @property
    def value_dim(self) -> int:
        """Size of one head's values."""
        return self._rows[1].shape[3]

    def exchange(self, spans: Sequence[ChunkSpan]) -> None:
        """Keeps what is to be kept, then waits for what other frames keep. Needs every head.

        Raises:
            PrefixLost: If a frame that this one relies on failed.
        """
        self._store(spans)
        self._kept.wait_for({slot for span in spans for slot in span.slots}, self._layer)

    def of_heads(self, heads: slice) -> KeyValues:
        """The same of some key/value heads."""
        key, value = (rows[:, heads] for rows in self._rows)
        num_heads = key.shape[1] * self._num_groups
        return KeyValues(key, value, self._kept, self._layer, num_heads, heads)

    def seen_by(self, span: ChunkSpan) -> tuple[Tensor, Tensor]:
        """Keys and values of a chunk's ancestors and its own, (1, heads, keys, head_dim) each; valid until the next."""
        if not span.sees_itself:
            return self.before(span)
        if not span.num_before:
            return self.own(span)
        own = (span.start, span.stop)
        return self._laid_end_to_end((*span.slots, *span.ancestors, own), span.num_before + span.stop - span.start)

    def before(self, span: ChunkSpan) -> tuple[Tensor, Tensor]:
        """As `seen_by`, of a chunk's ancestors alone."""
        return self._laid_end_to_end((*span.slots, *span.ancestors), span.num_before)

    def own(self, span: ChunkSpan) -> tuple[Tensor, Tensor]:
        """As `seen_by`, of a chunk's own rows alone, which are not copied."""
        key, value = (self._expand(rows[:, :, span.start : span.stop]) for rows in self._rows)
        return key, value

    def of_call(self, call: RunCall, *, expands: bool) -> tuple[Tensor, Tensor]:
        """Keys and values of a call's runs, end to end, (K, heads, head_dim) each.

        Args:
            expands: Whether each head is repeated for the query heads that share it.
        """
        key, value = (
            _gathered([rows, *(self._segment(slot, which) for slot in call.slots)], call.key_rows)
            for which, rows in enumerate(self._rows)
        )
        return (self._expand(key), self._expand(value)) if expands else (key, value)

    def _store(self, spans: Iterable[ChunkSpan]) -> None:
        for span in spans:
            if span.store is not None:
                key, value = (rows[:, :, span.start : span.stop] for rows in self._rows)
                self._kept.store(span.store, self._layer, key, value)

    def _expand(self, rows: Tensor) -> Tensor:
        """Repeats each key/value head for the query heads that share it."""
        return rows.repeat_interleave(self._num_groups, dim=1) if self._num_groups > 1 else rows

    def _laid_end_to_end(self, segments: Sequence[Segment], room: int) -> tuple[Tensor, Tensor]:
        num_keys = self._lay_out(segments, room)
        return self._laid_out[0][:, :, :num_keys], self._laid_out[1][:, :, :num_keys]

    def _lay_out(self, segments: Sequence[Segment], room: int) -> int:
        """Copies the segments that are not there yet; returns how many keys they are."""
        if not self._laid_out or self._laid_out[0].shape[2] < room:
            self._laid_out, self._segments = tuple(self._empty(rows, room) for rows in self._rows), ()
        position, is_same = 0, True
        for place, segment in enumerate(segments):
            num_keys = self._kept.num_tokens(segment) if isinstance(segment, int) else segment[1] - segment[0]
            is_same = is_same and place < len(self._segments) and self._segments[place] == segment
            if not is_same:
                for which, laid_out in enumerate(self._laid_out):
                    laid_out[:, :, position : position + num_keys] = self._expand(self._segment(segment, which))
            position += num_keys
        self._segments = segments
        return position

    def _segment(self, segment: Segment, which: int) -> Tensor:
        if isinstance(segment, int):
            return self._kept.read(segment, self._layer, which)[:, self._heads]
        return self._rows[which][:, :, segment[0] : segment[1]]

    def _empty(self, rows: Tensor, room: int) -> Tensor:
        return rows.new_empty(1, rows.shape[1] * self._num_groups, room, rows.shape[3])


def _gathered(parts: Sequence[Tensor], rows: Tensor | None) -> Tensor:
    """Rows of parts laid end to end, each (1, heads, n, head_dim); (K, heads, head_dim)."""
    rows_first = [part[0].transpose(0, 1) for part in parts]
    laid_out = rows_first[0] if len(parts) == 1 else torch.cat(rows_first)
    return laid_out if rows is None else laid_out.index_select(0, rows)
