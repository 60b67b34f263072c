"""Which slice the next free thread encodes: interactive before bulk, with the ageing of the line before the engine.

Decisions only: no clock, no threads.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.ageing import BulkPatience
from service.types import Priority

Slice = TypeVar("Slice")


@dataclass(slots=True)
class SliceLine(Generic[Slice]):
    """Slices that no thread has begun, in order of arrival within each class."""

    _waiting: dict[Priority, deque[tuple[float, Slice]]] = field(
        default_factory=lambda: {priority: deque() for priority in Priority}
    )
    _bulk: BulkPatience = field(default_factory=BulkPatience)

    def enqueue(self, item: Slice, priority: Priority, now_s: float) -> None:
        """Puts a slice at the end of its class."""
        self._waiting[priority].append((now_s, item))

    def take(self, now_s: float) -> Slice | None:
        """Removes and returns the slice that goes next; None if none waits."""
        if self._is_bulk_overdue(now_s):
            return self._take_bulk(now_s)
        if self._waiting[Priority.INTERACTIVE]:
            return self._waiting[Priority.INTERACTIVE].popleft()[1]
        return self._take_bulk(now_s) if self._waiting[Priority.BULK] else None

    def _take_bulk(self, now_s: float) -> Slice:
        self._bulk.served_s = now_s
        return self._waiting[Priority.BULK].popleft()[1]

    def _is_bulk_overdue(self, now_s: float) -> bool:
        """Whether bulk slices have been passed over for longer than their patience."""
        bulk = self._waiting[Priority.BULK]
        return bool(bulk) and self._bulk.is_over(bulk[0][0], now_s)
