"""What each client may hold of a full queue, and whose turn it is: so that one cannot push everyone out.

Two rules, both on plain numbers. *Room*: while the queue is not contended a client may fill it; once it is more than
half full and others hold some of it, a client takes no more than its even share, and a little room beyond the limit is
kept for those who hold less than theirs (trunk reservation, as telephone exchanges do), so that a newcomer to a full
queue need not wait for it to empty. *Turns*: within a class of work clients take turns by tokens (start-time fair
queueing: Goyal, Vin and Cheng, SIGCOMM 1996), so that a job of 20,000 pairs and a single pair each get on.
A client is whoever showed one key, or without keys whoever comes from one address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace

from service.scheduling.jobs import Job

RESERVE = 0.125
"""Room beyond the limit, as a share of it, for clients who hold less than their own share."""

CONTENDED_FROM = 0.5
"""The queue counts as contended once so much of it is held."""


def may_hold(held: int, total: int, more: int, limit: int, num_clients: int) -> bool:
    """Whether a client that holds `held` of `total` may take `more`.

    Args:
        num_clients: Clients that hold something, this one included.
    """
    share = limit / max(2, num_clients)
    if held + more <= share:
        return total + more <= limit * (1 + RESERVE)
    if num_clients > 1:
        return total + more <= limit * CONTENDED_FROM
    return total + more <= limit


@dataclass(slots=True)
class Held:
    """How much of one resource each client holds; those who hold nothing are forgotten."""

    by_client: dict[str, int] = field(default_factory=dict)

    def add(self, client: str, number: int) -> None:
        """Adds to a client's part; a negative number gives back."""
        held = self.by_client.get(client, 0) + number
        if held:
            self.by_client[client] = held
        else:
            self.by_client.pop(client, None)

    def of(self, client: str) -> int:
        """A client's part."""
        return self.by_client.get(client, 0)

    def num_clients_with(self, client: str) -> int:
        """Clients that hold something, and this one whether it does or not."""
        return len(self.by_client) + (client not in self.by_client)


@dataclass(slots=True)
class Turns:
    """Virtual time of the clients of one class: tokens served, counted for each from where it came in."""

    served_tokens: dict[str, int] = field(default_factory=dict)

    def enter(self, client: str) -> None:
        """Notes that a client has work again: it starts level with the least served, with no credit for absence."""
        if client not in self.served_tokens:
            self.served_tokens[client] = min(self.served_tokens.values(), default=0)

    def leave(self, client: str) -> None:
        """Forgets a client without work."""
        self.served_tokens.pop(client, None)

    def charge(self, client: str, num_tokens: int) -> None:
        """Notes that so many tokens of a client were taken."""
        if client in self.served_tokens:
            self.served_tokens[client] += num_tokens

    def merged(self, queues: Mapping[str, Iterator[Iterator[Job]]]) -> Iterator[Job]:
        """Takes runs of jobs from the clients' queues, always from the client that is furthest behind.

        Of clients that are level the one that came last goes first: it waits for the end of nobody's run.
        """
        heap = [(self.served_tokens.get(client, 0), -place, client) for place, client in enumerate(queues)]
        heapify(heap)
        while heap:
            tokens, place, client = heap[0]
            run = next(queues[client], None)
            if run is None:
                heappop(heap)
                continue
            for job in run:
                yield job
                tokens += job.num_tokens
            heapreplace(heap, (tokens, place, client))
