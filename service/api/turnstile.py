"""Lets a few requests in at each turn of the event loop, so that a burst does not hold up everyone's replies.

Without it, thousands of requests that arrive at once are all read, checked and admitted within one turn of the loop,
and for those seconds nobody is answered: no finished score, and no probe, so that a supervisor takes a busy server for
a dead one (4,096 at once on two busy cores: the slowest /livez took 22 s).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

A_TURN: Final = 4
"""Requests let in at a turn: one to two milliseconds of work each."""

PROBES: Final = frozenset({"/livez", "/readyz", "/health", "/infinity/health", "/v2/health/live", "/v2/health/ready"})
"""Paths that never wait, and need no key."""


class Turnstile:
    """Pure ASGI; outermost, since even refusing a request is work."""

    def __init__(self, app: ASGIApp, a_turn: int = A_TURN) -> None:
        self._app = app
        self._a_turn = a_turn
        self._num_let_in = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection, in order of arrival."""
        if scope["type"] == "http" and scope["path"] not in PROBES:
            await self._pass()
        await self._app(scope, receive, send)

    async def _pass(self) -> None:
        loop = asyncio.get_running_loop()
        if self._num_let_in == 0:
            loop.call_soon(self._turn)
        if self._num_let_in < self._a_turn:
            self._num_let_in += 1
            return
        gate = loop.create_future()
        self._waiting.append(gate)
        await gate

    def _turn(self) -> None:
        """Lets the next few in; comes again at the next turn for as long as somebody does."""
        self._num_let_in = 0
        while self._waiting and self._num_let_in < self._a_turn:
            gate = self._waiting.popleft()
            if not gate.done():  # its caller has not been cancelled meanwhile
                gate.set_result(None)
                self._num_let_in += 1
        if self._num_let_in:
            asyncio.get_running_loop().call_soon(self._turn)
