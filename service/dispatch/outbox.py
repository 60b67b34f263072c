"""Hands a frame's replies to those who wait for them, a few requests' at each turn of the event loop.

A frame of single-pair requests ends two hundred of them at once. Were all woken in one turn, nobody else would be heard
until the last of their replies was written: half a second on two busy cores.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final

from service.dispatch.ledger import Reply, Ticket

A_TURN: Final = 2
"""Requests that are told of their replies at a turn; each has about a millisecond of work to do then."""


class Outbox:
    """Replies on their way; those to one request travel together."""

    def __init__(self) -> None:
        self._waiting: dict[Ticket, list[Reply]] = {}
        self._is_delivering = False

    def put(self, ticket: Ticket, reply: Reply) -> None:
        """Takes a reply in; it travels once `send` is called, or with others that are on their way."""
        replies = self._waiting.get(ticket)
        if replies is None:
            self._waiting[ticket] = [reply]
        else:
            replies.append(reply)

    def send(self) -> None:
        """Delivers what was put, in order of the requests' first replies: the first few now, the others by turns."""
        if self._waiting and not self._is_delivering:
            self._deliver()

    def _deliver(self) -> None:
        for ticket in list(islice(self._waiting, A_TURN)):
            for reply in self._waiting.pop(ticket):
                ticket.replies.put_nowait(reply)
        self._is_delivering = bool(self._waiting)
        if self._is_delivering:
            asyncio.get_running_loop().call_soon(self._deliver)
