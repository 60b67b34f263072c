"""The words that protocol and drivers speak: what to send, and what came of it.

A driver does four things for an `Exchange`, in a loop: start the sends it asks for, hand out its results,
wait for an event (at most until `wake_at`), and tell it. The exchange decides all, the driver does all I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Protocol, TypeVar, Union

R = TypeVar("R")


@dataclass(frozen=True)
class Outgoing:
    """One HTTP request, complete. `timeout_s` bounds the whole attempt, reply included."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    timeout_s: float
    is_streaming: bool


@dataclass(frozen=True)
class Send:
    """Asks the driver for one attempt, built only when a connection is free: it tells the time that is left.

    Attributes:
        attempt: Names the attempt in the events about it.
        build: From the time now to the request.
    """

    attempt: int
    build: Callable[[float], Outgoing]


@dataclass(frozen=True)
class Reply:
    """A whole reply: any status, header names in lower case."""

    attempt: int
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Line:
    """One line of a streaming reply with status 200."""

    attempt: int
    data: bytes


@dataclass(frozen=True)
class StreamEnd:
    """A streaming reply ended as HTTP says it should."""

    attempt: int


@dataclass(frozen=True)
class Lost:
    """No reply, or only a part of one. `code` is `unreachable` or `timeout`."""

    attempt: int
    reason: str
    code: str = "unreachable"


Event = Union[Reply, Line, StreamEnd, Lost]


class Exchange(Protocol[R]):
    """What a driver drives. Times are seconds of one monotonic clock, the driver's."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will be sent or handed out."""

    @property
    def wake_at(self) -> float:
        """When `tick` has something to do even if no event comes; infinite if never."""

    def tick(self, now: float) -> None:
        """Lets time pass; raises if the call is over without success."""

    def take_sends(self, now: float) -> list[Send]:
        """Returns the attempts to start now."""

    def feed(self, event: Event, now: float) -> None:
        """Tells what came of an attempt; raises if the call is over without success."""

    def take_results(self) -> list[R]:
        """Returns the results that became ready since the last time."""


@dataclass(frozen=True)
class Failure:
    """A passing failure of an attempt: worth another try."""

    code: str
    message: str
    status: int | None = None
    retry_after_s: float | None = None
    request_id: str | None = None
