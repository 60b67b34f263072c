"""A frame as attention sees it: which rows belong together, and what each chunk continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from service.engine.lanes import Lanes
from service.engine.prefix_slots import PrefixSlots
from service.engine.varlen import Runs, VarlenAttention

FAR_BEHIND = 512
"""Tokens before a chunk from which on it attends to them and to itself apart (`shared_prefix`). Behind 300 it is not
worth it yet."""


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """One chunk as rows of the frame, `[start, stop)`, and what it continues, from the root down.

    Attributes:
        num_before: Tokens of the pair before this chunk.
        ancestors: Rows of its ancestors in the frame.
        slots: Kept chunks that come before those.
        store: The slot to keep this chunk under, if it is to be kept.
    """

    start: int
    stop: int
    num_before: int = 0
    ancestors: tuple[tuple[int, int], ...] = ()
    slots: tuple[int, ...] = ()
    sees_itself: bool = True
    store: int | None = None

    @property
    def is_far(self) -> bool:
        """Whether it stands so far behind the start of its pair that its attention may be split."""
        return self.sees_itself and self.num_before >= FAR_BEHIND

    def is_sibling(self, other: ChunkSpan) -> bool:
        """Whether it continues the same rows as `other`, whose own rows end where its begin."""
        return self.start == other.stop and (self.slots, self.ancestors) == (other.slots, other.ancestors)


@dataclass(frozen=True, slots=True)
class RunCall:
    """Some of a frame's chunks, which lie end to end, as runs of one call of attention.

    Attributes:
        rows: Their rows of the frame.
        runs: Where they begin and end, counted from the first of these rows and of these keys.
        key_rows: Where the K keys of the runs are among the frame's rows and, behind these, those of `slots`; None
            where each run's keys are its own rows as they lie.
        slots: Kept chunks that are seen, each once.
    """

    rows: slice
    runs: Runs
    key_rows: Tensor | None
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkRuns:
    """A frame's chunks as runs; made once a frame and used by every layer.

    Attributes:
        attention: What computes them.
        calls: All chunks in their order.
        blind: Chunks that do not see themselves. Their runs are there to keep the order; what comes out of them is to
            be replaced.
    """

    attention: VarlenAttention
    calls: Sequence[RunCall]
    blind: tuple[ChunkSpan, ...]


@dataclass(slots=True)
class FrameLayout:
    """The chunks of one frame, what is kept of others, and the masks, made once a frame and used by every layer.

    Attributes:
        reads: The rows that go on after the last layer's attention, each with its chunk.
        lanes: The cores that the frame's work may be spread over.
        rows: Those rows' numbers, filled up to an admitted count; None where all rows go on (see `decoder_layer`).
        runs: The chunks as runs for few calls of attention, where the device has that.
        joins_siblings: Whether far siblings attend to what they share at once (`shared_prefix.joins_bits`).
    """

    spans: Sequence[ChunkSpan]
    num_tokens: int
    kept: PrefixSlots
    lanes: Lanes
    reads: Sequence[tuple[int, ChunkSpan]] = ()
    rows: Tensor | None = None
    runs: ChunkRuns | None = None
    joins_siblings: bool = False
    _families: Sequence[Sequence[ChunkSpan]] | None = None
    _masks: dict[tuple[int, int, int | None, bool], Tensor | None] = field(default_factory=dict)

    @property
    def far_families(self) -> Sequence[Sequence[ChunkSpan]]:
        """The far chunks, siblings together if they may be joined."""
        if self._families is None:
            families: list[list[ChunkSpan]] = []
            for span in filter(lambda span: span.is_far, self.spans):
                if self.joins_siblings and families and span.is_sibling(families[-1][-1]):
                    families[-1].append(span)
                else:
                    families.append([span])
            self._families = families
        return self._families

    def mask(self, span: ChunkSpan, window: int | None, like: Tensor) -> Tensor | None:
        """Additive mask (queries, keys) of a chunk, or None where plain causality says it all."""
        key = (span.stop - span.start, span.num_before, window, span.sees_itself)
        if key not in self._masks:
            self._masks[key] = _chunk_mask(*key, like=like)
        return self._masks[key]


def _chunk_mask(
    num_queries: int, num_before: int, window: int | None, sees_itself: bool, *, like: Tensor
) -> Tensor | None:
    """What each of a chunk's queries may see of its ancestors' keys and its own.

    Query i stands at position `num_before + i` and sees the keys up to itself; with a window of W it sees the
    last W of them (itself included), as transformers counts a window.
    """
    is_windowed = window is not None and num_before + num_queries > window
    if num_before == 0 and sees_itself and not is_windowed:
        return None
    query = torch.arange(num_queries, device=like.device)[:, None] + num_before
    key = torch.arange(num_before + num_queries if sees_itself else num_before, device=like.device)[None, :]
    visible = key <= query
    if is_windowed and window is not None:
        visible &= key > query - window
    return torch.zeros(visible.shape, dtype=like.dtype, device=like.device).masked_fill_(~visible, float("-inf"))
