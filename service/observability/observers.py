"""Who may be told of events, and the two observers that need nothing but memory.

Observers are called on the event loop or on an engine thread: `notify` must be quick and thread-safe.
Nothing here knows metrics, logs or HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from service.observability.events import Event

_logger = logging.getLogger(__name__)
MOST_HELD_BACK: Final = 256
"""So many events are told at once, so that those of a large request are not all kept until its reply."""

_EventT = TypeVar("_EventT", bound=Event)


class Observer(Protocol):
    """Someone who wants to know."""

    def notify(self, event: Event) -> None:
        """Takes note of one event; does not modify it, returns at once."""


class FanOut:
    """Tells several observers. One that fails is logged and costs nobody a score."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def notify(self, event: Event) -> None:
        """Tells every observer, in order."""
        for observer in self._observers:
            try:
                observer.notify(event)
            except Exception:
                _logger.exception("%s failed on %s", type(observer).__name__, type(event).__name__)


class HeldBack:
    """Keeps events until they are let go, so that whoever waits for a reply need not wait for its counting too."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._events: list[Event] = []

    def notify(self, event: Event) -> None:
        """Keeps an event; many are told at once."""
        self._events.append(event)
        if len(self._events) >= MOST_HELD_BACK:
            self.let_go()

    def let_go(self) -> None:
        """Tells what was kept, in order."""
        events, self._events = self._events, []
        for event in events:
            self._observer.notify(event)


class RecordingObserver:
    """Keeps every event, for tests that assert on facts."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        """Appends the event."""
        self.events.append(event)

    def of_type(self, kind: type[_EventT]) -> list[_EventT]:
        """Returns the events of one kind, in the order they came."""
        return [event for event in self.events if isinstance(event, kind)]
