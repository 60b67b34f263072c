"""What is known of a request's connection: whether its body is here, and who wants to know when the caller leaves.

The server's own connections say both in `scope["extensions"]`, at no cost worth naming. Under any other ASGI server a
task waits for `http.disconnect`, as ASGI has it: some 40 function calls and two turns of the event loop a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Final

from starlette.types import Receive, Scope

EXTENSION: Final = "reward_server.arrival"
"""The name of the server's own `Arrival` in `scope["extensions"]`."""


class Arrival:
    """One request on a connection. Holds nothing of the connection: what a request holds is freed when it ends.

    Attributes:
        is_whole: Whether the whole body has come, so that receiving it waits for nobody.
    """

    __slots__ = ("_callbacks", "_has_left", "is_whole")

    def __init__(self) -> None:
        self.is_whole = False
        self._has_left = False
        self._callbacks: list[Callable[[], None]] = []

    def on_leaving(self, callback: Callable[[], None]) -> Callable[[], object]:
        """Has `callback` called when the caller leaves, at once if that was before; gives what to call to forget it."""
        if self._has_left:
            callback()
        self._callbacks.append(callback)
        return functools.partial(self._forget, callback)

    def _forget(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(ValueError):  # forgotten before
            self._callbacks.remove(callback)

    def leave(self) -> None:
        """Says that the connection is lost."""
        self._has_left = True
        for callback in self._callbacks.copy():
            callback()


class AwaitedArrival(Arrival):
    """A request of which nothing is known but what `receive` gives."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Receive) -> None:
        super().__init__()
        self._receive = receive

    def on_leaving(self, callback: Callable[[], None]) -> Callable[[], object]:
        """Waits for the connection's end in a task; the body has been received before."""
        return asyncio.create_task(self._wait(callback)).cancel

    async def _wait(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(Exception):  # a connection that cannot be read from is lost as well
            while (await self._receive())["type"] != "http.disconnect":
                pass
        callback()


def arrival_of(scope: Scope, receive: Receive) -> Arrival:
    """The server's own, or one that waits for `receive`."""
    own: Arrival | None = scope.get("extensions", {}).get(EXTENSION)
    return AwaitedArrival(receive) if own is None else own
