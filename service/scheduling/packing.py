"""Builds a frame: chunks of many pairs laid end to end, every shared chunk once.

The batch is a trie. A chunk's identity is (its parent, its ids): pairs that begin with the same chunks share
them, whoever sent them and in whatever order. Since a lone pair is cut into the same chunks as a grouped one,
attention is called with the same shapes either way, which is what makes scores equal to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from service.scheduling.jobs import Job
from service.types import EncodedPair, Frame

NO_PARENT = -1
"""The parent of a chunk that begins a pair."""


@dataclass(frozen=True, slots=True)
class PackedJob:
    """What one job cost: tokens that its frame computes because of it, and tokens another job had paid for."""

    job: Job
    computed_tokens: int
    reused_tokens: int


@dataclass(frozen=True, slots=True)
class PackedFrame:
    """A frame and the jobs it answers, in the order of the frame's pairs."""

    frame: Frame
    jobs: tuple[PackedJob, ...]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One node of the trie; `row` is where its tokens begin in the frame."""

    parent: int
    ids: tuple[int, ...]
    position: int
    row: int
    sees_itself: bool = True


@dataclass(slots=True)
class FrameBuilder:
    """Collects jobs into one frame of at most `budget_tokens` tokens. Owns the trie; knows no order or clock."""

    budget_tokens: int
    num_tokens: int = 0
    _chunks: list[_Chunk] = field(default_factory=list)
    _index: dict[tuple[int, bool, int, tuple[int, ...]], int] = field(default_factory=dict)
    _jobs: list[PackedJob] = field(default_factory=list)
    _reads: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def jobs(self) -> tuple[PackedJob, ...]:
        """The jobs taken so far."""
        return tuple(self._jobs)

    def try_add(self, job: Job) -> bool:
        """Adds the job if the tokens it would add fit the budget; otherwise changes nothing."""
        wanted = list(_chunks_of(job.pair))
        known = self._known_prefix(wanted)
        new_tokens = sum(len(chunk.ids) for chunk in wanted[len(known) :])
        if self.num_tokens + new_tokens > self.budget_tokens:
            return False
        chain = known + self._append(wanted[len(known) :], parent=known[-1] if known else NO_PARENT)
        self._reads.append(self._rows_read(job, chain))
        reused = sum(len(self._chunks[index].ids) for index in known if self._chunks[index].sees_itself)
        self._jobs.append(PackedJob(job, len(job.pair.ids) - reused, reused))
        return True

    def build(self) -> PackedFrame:
        """The frame of all jobs taken so far, as plain integers."""
        chunks = self._chunks
        frame = Frame(
            token_ids=tuple(token for chunk in chunks for token in chunk.ids),
            position_ids=tuple(
                position for chunk in chunks for position in range(chunk.position, chunk.position + len(chunk.ids))
            ),
            chunk_bounds=(*(chunk.row for chunk in chunks), self.num_tokens),
            parents=tuple(chunk.parent for chunk in chunks),
            sees_itself=tuple(chunk.sees_itself for chunk in chunks),
            read_rows=tuple(row for rows in self._reads for row in rows),
            read_bounds=(0, *accumulate(len(rows) for rows in self._reads)),
            read_counts=tuple(len(taken.job.pair.reads) for taken in self._jobs) if self._explains() else (),
        )
        return PackedFrame(frame, self.jobs)

    def _explains(self) -> bool:
        return any(taken.job.explain for taken in self._jobs)

    def _known_prefix(self, wanted: Sequence[_Chunk]) -> list[int]:
        """Indices of the leading chunks of `wanted` that the frame already holds."""
        known: list[int] = []
        parent = NO_PARENT
        for chunk in wanted:
            index = self._index.get((parent, chunk.sees_itself, chunk.position, chunk.ids))
            if index is None:
                break
            known.append(index)
            parent = index
        return known

    def _append(self, chunks: Sequence[_Chunk], parent: int) -> list[int]:
        """Lays new chunks behind the last one, each the child of the one before."""
        added: list[int] = []
        for chunk in chunks:
            index = len(self._chunks)
            placed = _Chunk(parent, chunk.ids, chunk.position, self.num_tokens, chunk.sees_itself)
            self._chunks.append(placed)
            self._index[(parent, chunk.sees_itself, chunk.position, chunk.ids)] = index
            self.num_tokens += len(chunk.ids)
            added.append(index)
            parent = index
        return added

    def _rows_read(self, job: Job, chain: Sequence[int]) -> tuple[int, ...]:
        """Frame rows of the job's readout, then, where it is to be explained, of its response tokens."""
        rows = [row for index in chain for row in self._rows_of(index)]
        reads = tuple(rows[read] for read in job.pair.reads)
        if not job.explain:
            return reads
        return reads + tuple(rows[job.pair.prompt_tokens : len(job.pair.ids)])

    def _rows_of(self, index: int) -> range:
        chunk = self._chunks[index]
        return range(chunk.row, chunk.row + len(chunk.ids))


def halves(packed: PackedFrame) -> tuple[PackedFrame, ...]:
    """The frame's jobs as two frames, the first half and the rest; a frame of one job stays one."""
    jobs = [taken.job for taken in packed.jobs]
    middle = (len(jobs) + 1) // 2
    return tuple(_frame_of(part) for part in (jobs[:middle], jobs[middle:]) if part)


def _frame_of(jobs: Sequence[Job]) -> PackedFrame:
    builder = FrameBuilder(sum(job.num_tokens for job in jobs))
    for job in jobs:
        builder.try_add(job)
    return builder.build()


def _chunks_of(pair: EncodedPair) -> list[_Chunk]:
    """The pair's chain, not yet placed: its chunks in order, and its probe as a last chunk of one token."""
    bounds = (*pair.cuts, len(pair.ids))
    chain = [_Chunk(NO_PARENT, pair.ids[start:stop], start, 0) for start, stop in pairwise(bounds)]
    if pair.probe is not None:
        chain.append(_Chunk(NO_PARENT, (pair.probe.token_id,), pair.probe.position, 0, sees_itself=False))
    return chain
