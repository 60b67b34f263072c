"""Builds a frame: chunks of many pairs laid end to end, every shared chunk once, kept ones not at all.

The batch is a trie. A chunk's identity is (its parent, its ids): pairs that begin with the same chunks share
them, whoever sent them and in whatever order; what the directory says is kept needs no rows. Since a lone pair is
cut into the same chunks as a grouped one, attention is called with the same shapes either way, which is what makes
scores equal to the bit. A pair that does not fit may give its leading chunks to this frame and the rest to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(slots=True)
class _Walk:
    """A pair's chain, and how much of it is there already: kept chunks first, then chunks of the frame."""

    nodes: list[Node]
    known: list[int]
    missing: tuple[Chunk, ...]


class FrameBuilder:
    """Collects jobs into one frame of at most `budget_tokens` tokens. Owns the trie; knows no order or clock.

    Args:
        directory: What is kept; by default nothing.
        may_store: Whether chunks of this frame may be kept in their turn.
    """

    def __init__(self, budget_tokens: int, directory: PrefixDirectory | None = None, *, may_store: bool = True) -> None:
        self._budget_tokens = budget_tokens
        self._directory = PrefixDirectory() if directory is None else directory
        self._may_store = may_store
        self._jobs: list[PackedJob] = []
        self._parts: list[Job] = []
        self._explains = False
        # Of the frame's tokens, chunk after chunk:
        self._token_ids: list[int] = []
        self._position_ids: list[int] = []
        # Of its chunks; a parent below NO_PARENT is a kept chunk:
        self._index: dict[tuple[int, tuple[int, ...], int, bool], int] = {}
        self._rows: list[int] = []
        self._parents: list[int] = []
        self._sees_itself: list[bool] = []
        self._prefixes: list[tuple[int, ...]] = []
        self._nodes: list[Node | None] = []
        # Of its pairs; a row below 0 is ~ a row of the kept ones, which lie behind the frame's last:
        self._read_rows: list[int] = []
        self._read_bounds = [0]
        self._kept_rows: dict[int, int] = {}
        self._num_kept_rows = 0
        self._stores: dict[int, Store] = {}
        self._used: list[Node] = []

    @property
    def jobs(self) -> tuple[PackedJob, ...]:
        """The jobs taken whole so far."""
        return tuple(self._jobs)

    @property
    def num_jobs(self) -> int:
        """How many these are."""
        return len(self._jobs)

    @property
    def num_tokens(self) -> int:
        """Tokens of the frame so far."""
        return len(self._token_ids)

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
        num_more = 0
        for chunk in walk.missing:
            num_more += len(chunk.ids)
        if len(self._token_ids) + num_more > self._budget_tokens:
            return False
        if walk.nodes:
            self._use(walk.nodes[-1])
            self._read_kept(walk, job)
        chain, node, computed = self._begin(walk, job)
        num_prompt = job.pair.prompt_tokens
        for chunk in walk.missing:
            num_own = len(chunk.ids)
            is_of_prompt = chunk.sees_itself and chunk.position + num_own <= num_prompt
            node = self._reserve(chunk, node, len(chain)) if is_of_prompt else None
            chain.append(self._append(chunk, chain[-1] if chain else NO_PARENT, walk, node))
            computed += num_own if chunk.sees_itself else 0
        for read in job.reads:
            self._read_rows.append(self._row(chain[read.link], read.offset))
        self._read_bounds.append(len(self._read_rows))
        self._explains = self._explains or job.explain
        self._jobs.append(PackedJob(job, computed, max(0, len(job.pair.ids) - computed)))
        self._directory.release(job.job_id)
        return True

    def try_add_part(self, job: Job) -> bool:
        """Adds as many leading chunks of the job as fit and can be kept for its rest; False if that is none."""
        walk = self._walk(job)
        chain, node, computed = self._begin(walk, job)
        num_found = len(chain)
        if num_found and node is None:
            return False
        for chunk in walk.missing[:-1]:
            kept = None
            if len(self._token_ids) + len(chunk.ids) <= self._budget_tokens and chunk.sees_itself:
                kept = self._reserve(chunk, node, len(chain))
            if kept is None:
                break
            node = kept
            chain.append(self._append(chunk, chain[-1] if chain else NO_PARENT, walk, node))
            computed += len(chunk.ids)
        if node is None or len(chain) == num_found:
            return False
        if walk.nodes:
            self._use(walk.nodes[-1])
        self._parts.append(job)
        self._directory.start(job.job_id, Started(node, computed))
        return True

    def build(self) -> PackedFrame:
        """The frame of all jobs taken so far, as plain integers."""
        num_tokens, reads = len(self._token_ids), self._read_rows
        frame = Frame(
            token_ids=tuple(self._token_ids),
            position_ids=tuple(self._position_ids),
            chunk_bounds=(*self._rows, num_tokens),
            parents=tuple([parent if parent > NO_PARENT else NO_PARENT for parent in self._parents]),
            sees_itself=tuple(self._sees_itself),
            read_rows=tuple([row if row >= 0 else num_tokens + ~row for row in reads] if self._kept_rows else reads),
            read_bounds=tuple(self._read_bounds),
            read_counts=tuple([len(taken.job.pair.reads) for taken in self._jobs]) if self._explains else (),
            prefixes=tuple(self._prefixes),
            read_slots=tuple(self._kept_rows),
            stores=tuple(self._stores.values()),
            drops=self._directory.take_drops(),
        )
        return PackedFrame(frame, tuple(self._jobs), tuple(self._parts), tuple(self._used))

    def _walk(self, job: Job) -> _Walk:
        """Follows the pair's chain as far as it is there: in the frame, else kept with the rows that are read."""
        nodes: list[Node] = []
        known: list[int] = []
        parent = NO_PARENT
        for chunk in job.chunks:
            index = self._index.get((parent, chunk.ids, chunk.position, chunk.sees_itself))
            if index is not None:
                known.append(index)
                parent = index
                continue
            node = None if known else self._find(nodes[-1] if nodes else None, chunk)
            if node is None:
                break
            nodes.append(node)
            parent = _kept(node)
        return _Walk(nodes, known, job.chunks[len(nodes) + len(known) :])

    def _find(self, parent: Node | None, chunk: Chunk) -> Node | None:
        """The kept chunk, unless this very frame is to store it or it lacks rows that are read."""
        node = self._directory.find(parent, chunk.ids) if chunk.sees_itself else None
        if node is None or node.slot in self._stores or (chunk.is_read and not node.has_hidden):
            return None
        return node

    def _begin(self, walk: _Walk, job: Job) -> tuple[list[int], Node | None, int]:
        """The chain as far as it is there, what its last chunk is kept as, and how much of it this job has paid for."""
        last_kept = walk.nodes[-1] if walk.nodes else None
        node = self._nodes[walk.known[-1]] if walk.known else last_kept
        started = self._directory.started(job.job_id)
        return [*map(_kept, walk.nodes), *walk.known], node, started.computed_tokens if started else 0

    def _use(self, node: Node) -> None:
        """Keeps the chain that ends in a node until the frame is done."""
        self._directory.touch(node)
        self._directory.pin(node)
        self._used.append(node)

    def _reserve(self, chunk: Chunk, parent: Node | None, depth: int) -> Node | None:
        """What a new chunk that sees itself will be kept as, if there is room."""
        if not self._may_store or (depth and parent is None):
            return None
        node = self._directory.find(parent, chunk.ids)
        is_enough = node is not None and (node.has_hidden or not chunk.is_read)
        if node is None:
            node = self._directory.reserve(parent, chunk.ids)
        if node is not None:
            self._use(node)
            if not is_enough:
                node.has_hidden = chunk.is_read
                self._stores[node.slot] = Store(len(self._rows), node.slot, chunk.is_read)
        return node

    def _append(self, chunk: Chunk, parent: int, walk: _Walk, node: Node | None) -> int:
        """Lays a new chunk behind the last one."""
        index = len(self._rows)
        self._index[(parent, chunk.ids, chunk.position, chunk.sees_itself)] = index
        self._rows.append(len(self._token_ids))
        self._token_ids += chunk.ids
        self._position_ids += range(chunk.position, chunk.position + len(chunk.ids))
        self._parents.append(parent)
        self._sees_itself.append(chunk.sees_itself)
        self._prefixes.append(tuple([each.slot for each in walk.nodes]) if parent < NO_PARENT else ())
        self._nodes.append(node)
        return index

    def _read_kept(self, walk: _Walk, job: Job) -> None:
        """Asks for the hidden states of the kept chunks that are read."""
        for node, chunk in zip(walk.nodes, job.chunks, strict=False):
            if chunk.is_read and node.slot not in self._kept_rows:
                self._kept_rows[node.slot] = self._num_kept_rows
                self._num_kept_rows += len(node.ids)

    def _row(self, link: int, offset: int) -> int:
        """The row of a read: in the frame, or ~ the kept row."""
        return self._rows[link] + offset if link > NO_PARENT else ~(self._kept_rows[-2 - link] + offset)


def halves(packed: PackedFrame, budget_tokens: int, directory: PrefixDirectory) -> tuple[PackedFrame, ...]:
    """The frame's jobs as two frames, the first half and the rest, keeping nothing; a frame of one job stays one.

    A job that fits neither, because what it relied on is gone, is in none; nor is there a frame without jobs.
    """
    jobs = [taken.job for taken in packed.jobs]
    middle = (len(jobs) + 1) // 2
    frames = (_frame_of(part, budget_tokens, directory) for part in (jobs[:middle], jobs[middle:]))
    return tuple(frame for frame in frames if frame.jobs)


def _frame_of(jobs: Sequence[Job], budget_tokens: int, directory: PrefixDirectory) -> PackedFrame:
    builder = FrameBuilder(budget_tokens, directory, may_store=False)
    for job in jobs:
        builder.try_add(job)
    return builder.build()
