"""Decides which waiting jobs go into the next frame.

State in, `now` in, decision out. The front of the line always moves: a job fits an empty frame, or gives it its
leading chunks, for which the directory has room once it lets go of what it keeps for other unfinished jobs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from service.scheduling.jobs import Job, JobId
from service.scheduling.packing import FrameBuilder, PackedFrame
from service.scheduling.prefix_directory import PrefixDirectory
from service.scheduling.waiting_line import WaitingLine
from service.types import Priority

MAX_MISFITS = 16
"""How many jobs that do not fit are looked past to fill a frame; more would cost more time than it fills."""


CLASSES = tuple(Priority)
"""The classes of work in the order they fill a frame."""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """How large a frame may be, and how much of it overdue bulk work gets before interactive work."""

    max_tokens: int
    max_pairs: int = 1024
    bulk_share: float = 0.5


def take_frame(
    line: WaitingLine, limits: FrameLimits, now_s: float, directory: PrefixDirectory | None = None
) -> PackedFrame | None:
    """Takes from the line what fits one frame and packs it; None if nothing can be packed now.

    Interactive work fills the frame first and bulk work the rest; overdue bulk work first gets its share. The first
    job that does not fit gives the frame its leading chunks, and stays in line for the rest of it.

    Args:
        directory: What is kept from frame to frame; by default nothing.
    """
    kept = directory if directory is not None else PrefixDirectory()
    builder = _filled(line, limits, now_s, kept)
    if builder.is_empty and kept.release_all_but(_front(line)):
        builder = _filled(line, limits, now_s, kept)
    if builder.is_empty:
        return None
    packed = builder.build()
    _remove_taken(line, packed, now_s)
    return packed


def _front(line: WaitingLine) -> list[JobId]:
    """The job that goes next."""
    jobs = (job.job_id for priority in Priority for job in line.in_order(priority))
    return list(islice(jobs, 1))


def _filled(line: WaitingLine, limits: FrameLimits, now_s: float, directory: PrefixDirectory) -> FrameBuilder:
    builder = FrameBuilder(limits.max_tokens, directory)
    if line.is_bulk_overdue(now_s):
        share = FrameBuilder(max(1, int(limits.max_tokens * limits.bulk_share)))
        _fill(share, line.in_order(Priority.BULK), limits.max_pairs)
        first = [packed.job for packed in share.jobs] or list(islice(line.in_order(Priority.BULK), 1))
        _fill(builder, first, limits.max_pairs)
    taken = {packed.job.job_id for packed in builder.jobs}
    for priority in CLASSES:
        if line.has(priority):
            jobs = line.in_order(priority)
            _fill(builder, (job for job in jobs if job.job_id not in taken) if taken else jobs, limits.max_pairs)
    return builder


def _fill(builder: FrameBuilder, jobs: Iterable[Job], max_pairs: int) -> None:
    """Adds jobs in order until the frame is full or too many in a row of the line did not fit."""
    misfits = 0
    for job in jobs:
        if builder.num_jobs >= max_pairs or misfits >= MAX_MISFITS:
            return
        if not builder.try_add(job):
            misfits += 1
            if not builder.has_part:
                builder.try_add_part(job)


def _remove_taken(line: WaitingLine, packed: PackedFrame, now_s: float) -> None:
    has_bulk = False
    for taken in packed.jobs:
        line.remove(taken.job.job_id)
        has_bulk = has_bulk or taken.job.priority is Priority.BULK
    if has_bulk:
        line.note_bulk_served(now_s)
