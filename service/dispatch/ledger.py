"""Who waits for which job: the one place where replies are matched to those who asked.

Identical pairs in flight are one job with several subscribers. A job whose last subscriber has gone is no longer
wanted. Each subscription gets exactly one reply, or is dropped by the one who would have read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from service.dispatch.replies import Replies
from service.errors import RewardServiceError
from service.scheduling.jobs import Job, JobId
from service.types import EncodedPair, Priority, Probe, Reward

PairKey = tuple[tuple[int, ...], tuple[int, ...], Probe | None, bool]
"""What a reward is a function of, within one model: ids, reads, probe, and whether it is explained."""


def pair_key(pair: EncodedPair, explain: bool) -> PairKey:
    """The identity of a pair; equal keys get equal rewards."""
    return (pair.ids, pair.reads, pair.probe, explain)


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one enqueued pair.

    Attributes:
        index: The asker's own number for the pair.
        is_duplicate: Whether another asker's identical pair was computed instead of this one.
    """

    index: int
    outcome: Reward | RewardServiceError
    computed_tokens: int = 0
    reused_tokens: int = 0
    is_duplicate: bool = False
    queue_s: float = 0.0
    compute_s: float = 0.0


@dataclass(eq=False, slots=True)
class Ticket:
    """One request's place at the counter: how it wants to be treated, and the replies that have come."""

    priority: Priority
    deadline_s: float
    explain: bool = False
    client: str = ""
    replies: Replies[Reply] = field(default_factory=Replies)
    job_ids: set[JobId] = field(default_factory=set)


@dataclass(slots=True)
class _Entry:
    """A job in flight and its subscribers, the first being the one it is computed for."""

    job: Job
    key: PairKey
    subscribers: list[tuple[Ticket, int]]


@dataclass(slots=True)
class Ledger:
    """Jobs in flight, waiting or running, with their subscribers."""

    _entries: dict[JobId, _Entry] = field(default_factory=dict)
    _by_key: dict[PairKey, JobId] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, job_id: JobId) -> bool:
        """Whether anyone waits for a job."""
        return job_id in self._entries

    def join(self, key: PairKey, ticket: Ticket, index: int) -> bool:
        """Subscribes to an identical job in flight, if there is one that serves this ticket as well as its own."""
        entry = self._entries.get(self._by_key.get(key, JobId(-1)))
        if entry is None or not _serves(entry.job, ticket):
            return False
        entry.subscribers.append((ticket, index))
        ticket.job_ids.add(entry.job.job_id)
        return True

    def open(self, job: Job, key: PairKey, ticket: Ticket, index: int) -> None:
        """Enters a new job with its first subscriber."""
        self._entries[job.job_id] = _Entry(job, key, [(ticket, index)])
        self._by_key[key] = job.job_id
        ticket.job_ids.add(job.job_id)

    def settle(self, job_id: JobId) -> list[tuple[Ticket, int]]:
        """Takes a job out and returns those to be told, the first being the one it was computed for."""
        entry = self._entries.pop(job_id, None)
        if entry is None:
            return []
        if self._by_key.get(entry.key) == job_id:
            del self._by_key[entry.key]
        for ticket, _ in entry.subscribers:
            ticket.job_ids.discard(job_id)
        return entry.subscribers

    def leave(self, ticket: Ticket) -> list[JobId]:
        """Ends all of a ticket's subscriptions; returns the jobs that nobody wants any more."""
        unwanted = []
        for job_id in list(ticket.job_ids):
            entry = self._entries[job_id]
            entry.subscribers = [(other, index) for other, index in entry.subscribers if other is not ticket]
            if not entry.subscribers:
                self.settle(job_id)
                unwanted.append(job_id)
        ticket.job_ids.clear()
        return unwanted

    def all_jobs(self) -> Iterator[JobId]:
        """Every job in flight."""
        return iter(list(self._entries))


def _serves(job: Job, ticket: Ticket) -> bool:
    """Whether a job is computed no later, and dropped no sooner, than one made for this ticket would be."""
    is_urgent_enough = job.priority is Priority.INTERACTIVE or ticket.priority is Priority.BULK
    return is_urgent_enough and job.deadline_s >= ticket.deadline_s
