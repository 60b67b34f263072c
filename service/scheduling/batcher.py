"""Decides which waiting jobs go into the next frame.

State in, `now` in, decision out. Every admitted job fits an empty frame, so the front of the line always moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from service.scheduling.jobs import Job
from service.scheduling.packing import FrameBuilder, PackedFrame
from service.scheduling.waiting_line import WaitingLine
from service.types import Priority

MAX_MISFITS = 16
"""How many jobs that do not fit are looked past to fill a frame; more would cost more time than it fills."""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """How large a frame may be, and how much of it overdue bulk work gets before interactive work."""

    max_tokens: int
    max_pairs: int = 1024
    bulk_share: float = 0.5


def take_frame(line: WaitingLine, limits: FrameLimits, now_s: float) -> PackedFrame | None:
    """Takes from the line what fits one frame and packs it; None if the line is empty.

    Interactive work fills the frame first and bulk work the rest; overdue bulk work first gets its share.
    """
    builder = FrameBuilder(limits.max_tokens)
    if line.is_bulk_overdue(now_s):
        share = FrameBuilder(max(1, int(limits.max_tokens * limits.bulk_share)))
        _fill(share, line.in_order(Priority.BULK), limits.max_pairs)
        first = [packed.job for packed in share.jobs] or list(line.in_order(Priority.BULK))[:1]
        _fill(builder, first, limits.max_pairs)
    taken = {packed.job.job_id for packed in builder.jobs}
    for priority in Priority:
        _fill(builder, (job for job in line.in_order(priority) if job.job_id not in taken), limits.max_pairs)
    if not builder.jobs:
        return None
    packed = builder.build()
    _remove_taken(line, packed, now_s)
    return packed


def _fill(builder: FrameBuilder, jobs: Iterable[Job], max_pairs: int) -> None:
    """Adds jobs in order until the frame is full or too many in a row of the line did not fit."""
    misfits = 0
    for job in jobs:
        if len(builder.jobs) >= max_pairs or misfits >= MAX_MISFITS:
            return
        misfits += not builder.try_add(job)


def _remove_taken(line: WaitingLine, packed: PackedFrame, now_s: float) -> None:
    for taken in packed.jobs:
        line.remove(taken.job.job_id)
    if any(taken.job.priority is Priority.BULK for taken in packed.jobs):
        line.note_bulk_served(now_s)
