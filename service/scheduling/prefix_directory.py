"""Which prompt chunks' keys and values the engine keeps, as plain integers: a trie of slots, least recently used out.

A chunk's identity is (its parent, its ids), compared exactly: no hash stands for it. The engine runs frames in the
order they were packed, so a chunk that an earlier frame will store counts as kept for every later one; if that
frame fails, the dispatcher has the chunk forgotten, and later readers find out from the engine (`PrefixLost`).
Decisions only: no clock, no torch; slots are numbers that are never used twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from service.scheduling.jobs import JobId


@dataclass(eq=False, slots=True)
class Node:
    """One kept chunk.

    Attributes:
        slot: The engine's name for its keys and values.
        has_hidden: Whether its last hidden states are kept, too, because a head reads rows of it.
        users: Frames not yet answered, and unfinished jobs, that rely on it. Ancestors are relied on through it.
    """

    slot: int
    ids: tuple[int, ...]
    parent: Node | None
    has_hidden: bool = False
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)
    users: int = 0
    is_forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """How far a job has come that one frame cannot hold: its leading chunks up to `node` are kept for it."""

    node: Node
    computed_tokens: int


@dataclass(slots=True)
class PrefixDirectory:
    """At most `capacity_tokens` tokens of kept chunks; with 0, nothing is ever kept.

    Attributes:
        num_tokens: Tokens kept now.
        num_evicted_tokens: Tokens that had to make room so far.
    """

    capacity_tokens: int = 0
    num_tokens: int = 0
    num_evicted_tokens: int = 0
    _roots: dict[tuple[int, ...], Node] = field(default_factory=dict)
    _by_age: OrderedDict[int, Node] = field(default_factory=OrderedDict)
    _started: dict[JobId, Started] = field(default_factory=dict)
    _dropped: list[int] = field(default_factory=list)
    _slots: Iterator[int] = field(default_factory=count)

    def find(self, parent: Node | None, ids: tuple[int, ...]) -> Node | None:
        """The kept chunk of these ids under this parent, if there is one."""
        return (self._roots if parent is None else parent.children).get(ids)

    def reserve(self, parent: Node | None, ids: tuple[int, ...]) -> Node | None:
        """Makes room for a chunk that the frame being packed will store; None if what is in use leaves too little."""
        if parent is not None and parent.is_forgotten:
            return None
        if self.num_tokens + len(ids) > self.capacity_tokens:
            self.pin(parent)
            has_room = self._make_room(len(ids))
            self.unpin(parent)
            if not has_room:
                return None
        node = Node(next(self._slots), ids, parent)
        self._children(parent)[ids] = node
        self._by_age[node.slot] = node
        self.num_tokens += len(ids)
        self.touch(node)
        return node

    def touch(self, node: Node) -> None:
        """Notes that a chunk was wanted just now. Ancestors count as newer, so that leaves go first."""
        each: Node | None = node
        while each is not None:
            if not each.is_forgotten:
                self._by_age.move_to_end(each.slot)
            each = each.parent

    def pin(self, node: Node | None) -> None:
        """Keeps a chunk and its ancestors from being evicted until `unpin`."""
        if node is not None:
            node.users += 1

    def unpin(self, node: Node | None) -> None:
        """Ends one `pin`."""
        if node is not None:
            node.users -= 1

    def forget(self, slots: Iterable[int]) -> None:
        """Drops chunks whose frame failed, and whatever continues them."""
        for slot in slots:
            node = self._by_age.get(slot)
            if node is not None:
                self._remove_with_children(node)

    def take_drops(self) -> tuple[int, ...]:
        """Slots that the engine may free before the next frame; each is told once."""
        if not self._dropped:
            return ()
        dropped, self._dropped = tuple(self._dropped), []
        return dropped

    def started(self, job_id: JobId) -> Started | None:
        """How far a job has come, if earlier frames computed a part of it."""
        return self._started.get(job_id)

    def start(self, job_id: JobId, progress: Started) -> None:
        """Keeps what a job has computed so far until it goes on or is released."""
        self.pin(progress.node)
        self.release(job_id)
        self._started[job_id] = progress

    def release(self, job_id: JobId) -> None:
        """Lets go of what was kept for a job alone: it has finished, or nobody wants it any more."""
        progress = self._started.pop(job_id, None)
        if progress is not None:
            self.unpin(progress.node)

    def release_all_but(self, job_ids: Sequence[JobId]) -> bool:
        """Lets go of what is kept for other unfinished jobs; they will compute it again. False if there was none."""
        others = [job_id for job_id in self._started if job_id not in job_ids]
        for job_id in others:
            self.release(job_id)
        return bool(others)

    def _children(self, parent: Node | None) -> dict[tuple[int, ...], Node]:
        return self._roots if parent is None else parent.children

    def _make_room(self, num_tokens: int) -> bool:
        """Evicts the least recently wanted leaves that nobody uses until `num_tokens` fit; nothing if they cannot."""
        if self.num_tokens + num_tokens > self.capacity_tokens and num_tokens <= self.capacity_tokens:
            self._evict(self.num_tokens + num_tokens - self.capacity_tokens)
        return self.num_tokens + num_tokens <= self.capacity_tokens

    def _evict(self, num_tokens: int) -> None:
        """Evicts at least `num_tokens` tokens if unused chunks hold that many. Children come before their parents."""
        left = num_tokens
        victims: dict[int, Node] = {}
        for slot, node in self._by_age.items():
            if left <= 0:
                break
            if not node.users and all(child.slot in victims for child in node.children.values()):
                left -= len(node.ids)
                victims[slot] = node
        for node in victims.values():
            self.num_evicted_tokens += len(node.ids)
            self._remove(node)

    def _remove_with_children(self, node: Node) -> None:
        for child in list(node.children.values()):
            self._remove_with_children(child)
        self._remove(node)

    def _remove(self, node: Node) -> None:
        del self._children(node.parent)[node.ids]
        del self._by_age[node.slot]
        node.is_forgotten = True
        self.num_tokens -= len(node.ids)
        self._dropped.append(node.slot)
