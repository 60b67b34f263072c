"""Makes tensors of a frame: the only place where the scheduler's integers become device memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from service.engine.lanes import Lanes
from service.engine.prefix_slots import PrefixSlots
from service.engine.run_plan import RunPlan
from service.engine.spans import ChunkSpan, FrameLayout
from service.engine.varlen import VarlenAttention
from service.frame import Frame

FILL_TOKEN = 0
"""Id of the rows that only fill a frame up to an admitted size. Nobody attends to them and nothing reads them."""


@dataclass(frozen=True, slots=True)
class FrameTensors:
    """A frame on the device; R is the row count it is filled up to.

    Attributes:
        input_ids: (1, R) int64.
        position_ids: (1, R) int64.
        rows: The rows whose last hidden states come out, if not all R do; the first ones, fill comes after them.
    """

    input_ids: Tensor
    position_ids: Tensor
    layout: FrameLayout
    rows: Tensor | None


def to_tensors(
    frame: Frame,
    frame_sizes: Sequence[int],
    device: torch.device,
    kept: PrefixSlots,
    lanes: Lanes,
    *,
    only_read: bool = False,
    varlen: VarlenAttention | None = None,
) -> FrameTensors:
    """Lays a frame out on the device, filled up to the smallest admitted size that holds it.

    Args:
        frame_sizes: Admitted row counts, ascending; the last holds any frame.
        kept: Where the chunks of other frames are, and this one's will be.
        lanes: The cores that the frame's work may be spread over.
        only_read: Leave the rows that nobody reads out of the last layer's queries and what follows them.
        varlen: Attention of many chunks in one call, where the device has it.
    """
    spans = chunk_spans(frame, kept)
    wanted = rows_wanted(frame) if only_read else []
    num_rows = _filled(frame.num_tokens, frame_sizes)
    plan = RunPlan.of(varlen, spans, num_rows, frame_sizes[-1], kept) if varlen is not None and spans else None
    ids, positions, rows, *of_plan = _copied(
        [
            _filled_up(frame.token_ids, frame_sizes, FILL_TOKEN),
            _filled_up(frame.position_ids, frame_sizes, 0),
            _filled_up(wanted, frame_sizes, 0),
            *(plan.numbers if plan is not None else ()),
        ],
        device,
    )
    layout = FrameLayout(spans, frame.num_tokens, kept, lanes)
    if plan is not None:
        layout.runs = plan.on_device(*of_plan)
    if only_read:
        layout.reads = tuple((row, spans[bisect_right(frame.chunk_bounds, row) - 1]) for row in wanted)
        layout.rows = rows
    return FrameTensors(ids[None], positions[None], layout, rows[: len(wanted)] if only_read else None)


def _copied(parts: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Parts on the device: as they are on the processor, else in one copy that waits for nothing."""
    if device.type == "cpu":
        return parts
    there = torch.cat(list(parts)).pin_memory().to(device, non_blocking=True)
    return torch.split(there, [len(part) for part in parts])


def _filled_up(numbers: Sequence[int], frame_sizes: Sequence[int], fill: int) -> Tensor:
    """As int64, with fill up to the smallest admitted size that holds them."""
    num_fill = _filled(len(numbers), frame_sizes) - len(numbers)
    return torch.tensor([*numbers, *[fill] * num_fill], dtype=torch.int64)


def _filled(num_rows: int, frame_sizes: Sequence[int]) -> int:
    """The smallest admitted size that holds so many rows."""
    return frame_sizes[bisect_left(frame_sizes, num_rows)]


def rows_wanted(frame: Frame) -> list[int]:
    """The rows of the frame whose last hidden states are read or kept, ascending."""
    rows = {row for row in frame.read_rows if row < frame.num_tokens}
    for store in frame.stores:
        if store.keeps_hidden:
            rows.update(range(*frame.chunk_bounds[store.chunk : store.chunk + 2]))
    return sorted(rows)


def chunk_spans(frame: Frame, kept: PrefixSlots) -> tuple[ChunkSpan, ...]:
    """The frame's chunks with what they continue, root first."""
    stores = {store.chunk: store.slot for store in frame.stores}
    spans: list[ChunkSpan] = []
    for index, ((start, stop), parent) in enumerate(zip(pairwise(frame.chunk_bounds), frame.parents, strict=True)):
        if parent >= 0:
            before = spans[parent]
            ancestors, slots = (*before.ancestors, (before.start, before.stop)), before.slots
            num_before = before.num_before + before.stop - before.start
        else:
            ancestors, slots = (), frame.prefixes[index] if frame.prefixes else ()
            num_before = sum(map(kept.num_tokens, slots))
        spans.append(ChunkSpan(start, stop, num_before, ancestors, slots, frame.sees_itself[index], stores.get(index)))
    return tuple(spans)
