"""Lets one request in at each turn of the event loop, so that a burst does not hold up everyone's replies.

Without it, thousands of requests that arrive at once are all read, checked and admitted within one turn of the loop,
and for those seconds nobody is answered: no finished score, and no probe, so that a supervisor takes a busy server for
a dead one (4,096 at once on two busy cores: the slowest /livez took 22 s). They wait here as bytes: even parsing
4,096 requests is a second of work that no probe should have to wait for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from service.api.keys import PROBES
from service.cli.one_write import OneWriteHttp

_PROBE_LINES: Final = tuple(
    f"{method} {path}{end}".encode() for method in ("GET", "HEAD") for path in PROBES for end in " ?"
)


class Turnstile:
    """Callbacks in order of arrival, one at each turn of the event loop; the first at once."""

    def __init__(self) -> None:
        self._is_open = True
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, let_in: Callable[[], None]) -> None:
        """Calls `let_in` now if nobody has been let in at this turn, else at one of the next."""
        if not self._is_open:
            self._waiting.append(let_in)
            return
        self._is_open = False
        asyncio.get_running_loop().call_soon(self._turn)
        let_in()

    def _turn(self) -> None:
        if not self._waiting:
            self._is_open = True
            return
        asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.popleft()()


class Connection(OneWriteHttp):
    """uvicorn's connection; the first bytes of a request wait at the turnstile unless they ask for a probe."""

    def __init__(self, turnstile: Turnstile, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._turnstile = turnstile
        self._held = bytearray()

    def data_received(self, data: bytes) -> None:
        """Hands on what belongs to a request that has been let in, and holds what begins one."""
        is_within = self.cycle is not None and not self.cycle.response_complete
        if not self._held and (is_within or data.startswith(_PROBE_LINES)):
            super().data_received(data)
            return
        is_first = not self._held
        self._held += data
        if is_first:
            self._unset_keepalive_if_required()  # its caller is not idle: it waits for us
            self._wait_no_more()
            self._turnstile.enter(self._let_in)
        if len(self._held) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def shutdown(self) -> None:
        """Ends in order: a request that was sent before is let in and answered."""
        self._let_in()
        super().shutdown()

    def _let_in(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        if held and not self.transport.is_closing():
            self.flow.resume_reading()
            super().data_received(held)
