"""Orders what was admitted: interactive before bulk with ageing, and members of a group together.

Within a class clients take turns by tokens; of one client the order is first come, first served, except that the
waiting members of a group follow their first one: they share its prompt. Bulk goes first in a frame whenever it has
been passed over for `BULK_PATIENCE_S`; it then gets up to `bulk_share` of that frame, so neither class starves the
other. Decisions only: no clock, no tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from service.ageing import BulkPatience
from service.scheduling.fair_share import Turns
from service.scheduling.jobs import Job, JobId
from service.types import Priority


@dataclass(slots=True)
class _Class:
    """The waiting jobs of one priority, by arrival and by group."""

    jobs: dict[JobId, Job] = field(default_factory=dict)
    groups: dict[int, dict[JobId, None]] = field(default_factory=dict)
    clients: dict[str, dict[JobId, Job]] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)

    def add(self, job: Job) -> None:
        self.jobs[job.job_id] = job
        self.turns.enter(job.client)
        self.clients.setdefault(job.client, {})[job.job_id] = job
        self.groups.setdefault(job.group, {})[job.job_id] = None

    def remove(self, job_id: JobId) -> Job:
        job = self.jobs.pop(job_id)
        members = self.groups[job.group]
        del members[job_id]
        if not members:
            del self.groups[job.group]
        own = self.clients[job.client]
        del own[job_id]
        if not own:
            del self.clients[job.client]
            self.turns.leave(job.client)
        return job

    def sort(self) -> None:
        """Orders by admission again."""
        self.jobs = dict(sorted(self.jobs.items()))
        self.groups = {group: dict(sorted(members.items())) for group, members in self.groups.items()}
        self.clients = {client: dict(sorted(own.items())) for client, own in self.clients.items()}

    def in_order(self) -> Iterator[Job]:
        """The clients by turns; of each, first come, first served, each job followed by the rest of its group."""
        seen: set[int] = set()
        if len(self.clients) == 1:
            (client,) = self.clients
            return chain.from_iterable(self._runs_of(client, seen))
        return self.turns.merged({client: self._runs_of(client, seen) for client in self.clients})

    def _runs_of(self, client: str, seen: set[int]) -> Iterator[Iterator[Job]]:
        for job in self.clients[client].values():
            if job.group not in seen:
                seen.add(job.group)
                yield map(self.jobs.__getitem__, self.groups[job.group])


@dataclass(slots=True)
class WaitingLine:
    """Admitted jobs that no frame has taken yet. Never refuses: admission has decided before."""

    num_tokens: int = 0
    _num_jobs: int = 0
    _none_late_before_s: float = math.inf
    _bulk: BulkPatience = field(default_factory=BulkPatience)
    _classes: dict[Priority, _Class] = field(default_factory=lambda: {priority: _Class() for priority in Priority})

    def __len__(self) -> int:
        return self._num_jobs

    def enqueue(self, job: Job) -> None:
        """Puts a job at the end of its class."""
        self._classes[job.priority].add(job)
        self._num_jobs += 1
        self.num_tokens += job.num_tokens
        if job.deadline_s < self._none_late_before_s:
            self._none_late_before_s = job.deadline_s

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Returns jobs that a frame had taken and did not answer to the places they had."""
        for job in jobs:
            self.enqueue(job)
        for waiting in self._classes.values():
            waiting.sort()

    def remove(self, job_id: JobId) -> Job | None:
        """Takes a job out, because a frame has taken it; None if it is not here. Its client's turn is over."""
        job = self.drop(job_id)
        if job is not None:
            self._classes[job.priority].turns.charge(job.client, job.num_tokens)
        return job

    def drop(self, job_id: JobId) -> Job | None:
        """Takes a job out that nobody waits for any more; None if it is not here."""
        for waiting in self._classes.values():
            if job_id in waiting.jobs:
                job = waiting.remove(job_id)
                self._num_jobs -= 1
                self.num_tokens -= job.num_tokens
                return job
        return None

    def expire(self, now_s: float) -> list[Job]:
        """Removes and returns the jobs whose deadline has passed."""
        if now_s < self._none_late_before_s:
            return []
        late = [job for waiting in self._classes.values() for job in waiting.jobs.values() if job.deadline_s <= now_s]
        for job in late:
            self.drop(job.job_id)
        self._none_late_before_s = min(
            (job.deadline_s for waiting in self._classes.values() for job in waiting.jobs.values()), default=math.inf
        )
        return late

    def is_bulk_overdue(self, now_s: float) -> bool:
        """Whether bulk work has waited longer than its patience since it was last served."""
        jobs = self._classes[Priority.BULK].jobs
        return bool(jobs) and self._bulk.is_over(next(iter(jobs.values())).arrived_s, now_s)

    def note_bulk_served(self, now_s: float) -> None:
        """Starts the patience of bulk work anew."""
        self._bulk.served_s = now_s

    def has(self, priority: Priority) -> bool:
        """Whether any of a class waits."""
        return bool(self._classes[priority].jobs)

    def in_order(self, priority: Priority) -> Iterator[Job]:
        """The waiting jobs of one class in the order frames should take them. Do not change the line meanwhile."""
        return self._classes[priority].in_order()
