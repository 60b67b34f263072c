"""The replies that have come to one request, who reads them, and until when."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class Replies(Generic[Item]):
    """An `asyncio.Queue` without bounds for one reader at a time, who may be woken though nothing has come."""

    __slots__ = ("_come", "_waiter")

    def __init__(self) -> None:
        self._come: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def qsize(self) -> int:
        """How many have come and are not read."""
        return len(self._come)

    def empty(self) -> bool:
        """Whether none is there to read."""
        return not self._come

    def put_nowait(self, item: Item) -> None:
        """Adds one and wakes the reader."""
        self._come.append(item)
        self.wake()

    def get_nowait(self) -> Item:
        """The next; `IndexError` if none is there."""
        return self._come.popleft()

    async def get(self) -> Item:
        """Waits for the next as long as it takes."""
        while not self._come:
            await self.wait()
        return self._come.popleft()

    async def wait(self) -> None:
        """Returns once one comes, or `wake` is called."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Has the reader look up, if it waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Deadlines:
    """Wakes readers whose deadline has passed, with one timer for them all.

    A timer each would be made and undone at every wait of every request, and hardly one is ever needed.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends_s: dict[Replies[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at_s = 0.0

    def enter(self, replies: Replies[Any], ends_s: float) -> None:
        """From now on, wakes a reader once the clock shows `ends_s`."""
        self._ends_s[replies] = ends_s
        if self._timer is None or ends_s < self._rings_at_s:
            self._set(ends_s)

    def leave(self, replies: Replies[Any]) -> None:
        """Ends that. Costs no timer: at worst one rings for nobody."""
        del self._ends_s[replies]

    def _set(self, rings_at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at_s = rings_at_s
        self._timer = asyncio.get_running_loop().call_later(rings_at_s - self._clock(), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_s = self._clock()
        for replies, ends_s in self._ends_s.items():
            if ends_s <= now_s:
                replies.wake()
        ahead_s = [ends_s for ends_s in self._ends_s.values() if ends_s > now_s]
        if ahead_s:
            self._set(min(ahead_s))
