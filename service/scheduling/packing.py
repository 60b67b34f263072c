"""Builds a frame: chunks of many pairs laid end to end, every shared chunk once, kept ones not at all.

The batch is a trie. A chunk's identity is (its parent, its ids): pairs that begin with the same chunks share
them, whoever sent them and in whatever order; what the directory says is kept needs no rows. Since a lone pair is
cut into the same chunks as a grouped one, attention is called with the same shapes either way, which is what makes
scores equal to the bit. A pair that does not fit may give its leading chunks to this frame and the rest to the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from service.frame import Frame, Store
from service.scheduling.chains import Chunk
from service.scheduling.jobs import Job
from service.scheduling.prefix_directory import Node, PrefixDirectory, Started

NO_PARENT = -1
"""The parent of a chunk that begins a pair."""


def _kept(node: Node) -> int:
    """How a kept chunk is named as a parent: below -1, so that it is no chunk of the frame."""
    return -2 - node.slot


@dataclass(frozen=True, slots=True)
class PackedJob:
    """What one job cost: tokens that were computed because of it, and tokens that were already paid for."""

    job: Job
    computed_tokens: int
    reused_tokens: int


@dataclass(frozen=True, slots=True)
class PackedFrame:
    """A frame and what hangs on it.

    Attributes:
        jobs: The jobs it answers, in the order of the frame's pairs.
        parts: The jobs it computes leading chunks of; they stay in line.
        used: Kept chunks it relies on or stores; `PrefixDirectory.unpin` each once the frame is done.
    """

    frame: Frame
    jobs: tuple[PackedJob, ...]
    parts: tuple[Job, ...] = ()
    used: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class _Placed:
    """A chunk of the frame; `row` is where its tokens begin, `node` what it is kept as."""

    chunk: Chunk
    parent: int
    prefix: tuple[int, ...]
    row: int
    node: Node | None


@dataclass(frozen=True, slots=True)
class _Walk:
    """How much of a pair's chain is there already: kept chunks up to `node`, then chunks of the frame."""

    chunks: tuple[Chunk, ...]
    nodes: tuple[Node, ...]
    known: tuple[int, ...]

    @property
    def num_found(self) -> int:
        return len(self.nodes) + len(self.known)

    @property
    def missing(self) -> tuple[Chunk, ...]:
        return self.chunks[self.num_found :]


@dataclass(slots=True)
class FrameBuilder:
    """Collects jobs into one frame of at most `budget_tokens` tokens. Owns the trie; knows no order or clock.

    Attributes:
        directory: What is kept; by default nothing.
        may_store: Whether chunks of this frame may be kept in their turn.
    """

    budget_tokens: int
    directory: PrefixDirectory = field(default_factory=PrefixDirectory)
    may_store: bool = True
    num_tokens: int = 0
    _chunks: list[_Placed] = field(default_factory=list)
    _index: dict[tuple[int, Chunk], int] = field(default_factory=dict)
    _jobs: list[PackedJob] = field(default_factory=list)
    _parts: list[Job] = field(default_factory=list)
    _reads: list[list[tuple[int, int]]] = field(default_factory=list)
    _stores: dict[int, Store] = field(default_factory=dict)
    _used: list[Node] = field(default_factory=list)
    _kept_rows: dict[int, int] = field(default_factory=dict)
    _num_kept_rows: int = 0

    @property
    def jobs(self) -> tuple[PackedJob, ...]:
        """The jobs taken whole so far."""
        return tuple(self._jobs)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to run."""
        return not (self._jobs or self._parts)

    @property
    def has_part(self) -> bool:
        """Whether a job gave this frame its leading chunks only."""
        return bool(self._parts)

    def try_add(self, job: Job) -> bool:
        """Adds the job if the tokens it would add fit the budget; otherwise changes nothing."""
        walk = self._walk(job)
        if self.num_tokens + sum(len(chunk.ids) for chunk in walk.missing) > self.budget_tokens:
            return False
        self._use(walk.nodes)
        chain = [*map(_kept, walk.nodes), *walk.known]
        node, computed = self._node_of(walk), self._computed_before(job)
        for chunk in walk.missing:
            node = self._reserve(chunk, node, len(chain), is_wanted=chunk.stop <= job.pair.prompt_tokens)
            chain.append(self._append(chunk, chain[-1] if chain else NO_PARENT, walk, node))
            computed += len(chunk.ids) if chunk.sees_itself else 0
        self._read_kept(walk)
        self._reads.append([(chain[read.link], read.offset) for read in job.reads])
        self._jobs.append(PackedJob(job, computed, max(0, len(job.pair.ids) - computed)))
        self.directory.release(job.job_id)
        return True

    def try_add_part(self, job: Job) -> bool:
        """Adds as many leading chunks of the job as fit and can be kept for its rest; False if that is none."""
        walk = self._walk(job)
        chain = [*map(_kept, walk.nodes), *walk.known]
        node, computed = self._node_of(walk), self._computed_before(job)
        if walk.num_found and node is None:
            return False
        for chunk in walk.missing[:-1]:
            kept = None
            if self.num_tokens + len(chunk.ids) <= self.budget_tokens:
                kept = self._reserve(chunk, node, len(chain), is_wanted=True)
            if kept is None:
                break
            node = kept
            chain.append(self._append(chunk, chain[-1] if chain else NO_PARENT, walk, node))
            computed += len(chunk.ids)
        if node is None or len(chain) == walk.num_found:
            return False
        self._use(walk.nodes)
        self._parts.append(job)
        self.directory.start(job.job_id, Started(node, computed))
        return True

    def build(self) -> PackedFrame:
        """The frame of all jobs taken so far, as plain integers."""
        placed = self._chunks
        rows = [tuple(self._row(parent, offset) for parent, offset in reads) for reads in self._reads]
        frame = Frame(
            token_ids=tuple(itertools.chain.from_iterable(each.chunk.ids for each in placed)),
            position_ids=tuple(itertools.chain.from_iterable(each.chunk.positions for each in placed)),
            chunk_bounds=(*(each.row for each in placed), self.num_tokens),
            parents=tuple(max(each.parent, NO_PARENT) for each in placed),
            sees_itself=tuple(each.chunk.sees_itself for each in placed),
            read_rows=tuple(row for pair in rows for row in pair),
            read_bounds=(0, *accumulate(map(len, rows))),
            read_counts=tuple(len(taken.job.pair.reads) for taken in self._jobs) if self._explains() else (),
            prefixes=tuple(each.prefix for each in placed),
            read_slots=tuple(self._kept_rows),
            stores=tuple(self._stores.values()),
            drops=self.directory.take_drops(),
        )
        return PackedFrame(frame, self.jobs, tuple(self._parts), tuple(self._used))

    def _explains(self) -> bool:
        return any(taken.job.explain for taken in self._jobs)

    def _walk(self, job: Job) -> _Walk:
        """Follows the pair's chain as far as it is there: in the frame, else kept with the rows that are read."""
        nodes: list[Node] = []
        known: list[int] = []
        parent = NO_PARENT
        for chunk in job.chunks:
            index = self._index.get((parent, chunk))
            if index is not None:
                known.append(index)
                parent = index
                continue
            node = None if known else self._find(nodes[-1] if nodes else None, chunk)
            if node is None:
                break
            nodes.append(node)
            parent = _kept(node)
        return _Walk(job.chunks, tuple(nodes), tuple(known))

    def _find(self, parent: Node | None, chunk: Chunk) -> Node | None:
        """The kept chunk, unless this very frame is to store it or it lacks rows that are read."""
        node = self.directory.find(parent, chunk.ids) if chunk.sees_itself else None
        if node is None or node.slot in self._stores or (chunk.is_read and not node.has_hidden):
            return None
        return node

    def _node_of(self, walk: _Walk) -> Node | None:
        """What the last chunk that is there is kept as."""
        if walk.known:
            return self._chunks[walk.known[-1]].node
        return walk.nodes[-1] if walk.nodes else None

    def _computed_before(self, job: Job) -> int:
        started = self.directory.started(job.job_id)
        return started.computed_tokens if started else 0

    def _use(self, nodes: Sequence[Node]) -> None:
        """Keeps the chain that ends the given nodes until the frame is done."""
        if nodes:
            self.directory.touch(nodes[-1])
            self.directory.pin(nodes[-1])
            self._used.append(nodes[-1])

    def _reserve(self, chunk: Chunk, parent: Node | None, depth: int, is_wanted: bool) -> Node | None:
        """What a new chunk will be kept as, if it is to be kept and there is room."""
        if not (self.may_store and is_wanted and chunk.sees_itself) or (depth and parent is None):
            return None
        node = self.directory.find(parent, chunk.ids)
        is_enough = node is not None and (node.has_hidden or not chunk.is_read)
        if node is None:
            node = self.directory.reserve(parent, chunk.ids)
        if node is not None:
            self._use([node])
            if not is_enough:
                node.has_hidden = chunk.is_read
                self._stores[node.slot] = Store(len(self._chunks), node.slot, chunk.is_read)
        return node

    def _append(self, chunk: Chunk, parent: int, walk: _Walk, node: Node | None) -> int:
        """Lays a new chunk behind the last one."""
        index = len(self._chunks)
        prefix = tuple(each.slot for each in walk.nodes) if parent < NO_PARENT else ()
        self._chunks.append(_Placed(chunk, parent, prefix, self.num_tokens, node))
        self._index[(parent, chunk)] = index
        self.num_tokens += len(chunk.ids)
        return index

    def _read_kept(self, walk: _Walk) -> None:
        """Asks for the hidden states of the kept chunks that are read."""
        for node, chunk in zip(walk.nodes, walk.chunks, strict=False):
            if chunk.is_read and node.slot not in self._kept_rows:
                self._kept_rows[node.slot] = self._num_kept_rows
                self._num_kept_rows += len(node.ids)

    def _row(self, link: int, offset: int) -> int:
        """The row of a read: in the frame, or behind its end among the kept rows."""
        if link > NO_PARENT:
            return self._chunks[link].row + offset
        return self.num_tokens + self._kept_rows[-2 - link] + offset


def halves(packed: PackedFrame, budget_tokens: int, directory: PrefixDirectory) -> tuple[PackedFrame, ...]:
    """The frame's jobs as two frames, the first half and the rest, keeping nothing; a frame of one job stays one."""
    jobs = [taken.job for taken in packed.jobs]
    middle = (len(jobs) + 1) // 2
    return tuple(_frame_of(part, budget_tokens, directory) for part in (jobs[:middle], jobs[middle:]) if part)


def _frame_of(jobs: Sequence[Job], budget_tokens: int, directory: PrefixDirectory) -> PackedFrame:
    builder = FrameBuilder(budget_tokens, directory, may_store=False)
    for job in jobs:
        builder.try_add(job)
    return builder.build()
