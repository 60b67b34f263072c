"""Replies leave in one piece: what uvicorn writes of one reply within a turn of the event loop is one system call.

The call is made once the reply is complete, before whatever else is done about it (metrics, logs), or when the turn
ends. uvicorn writes a reply's head, then its body. Sampled while 1,024 single-pair requests came at once, on two busy
cores, the event loop spent 24 % of its time in those writes, and 3 % since they are one (each lets go of the
interpreter's lock and has to get it back).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from service.cli.bounded_http import BoundedHttp

FLUSH_BYTES: Final = 64 * 1024
"""More than this is handed on at once, so that the transport's own limits hold back whoever writes too fast."""


class OneWrite(asyncio.Transport):
    """A transport that gathers what is written until it is flushed, at the next turn of the loop at the latest; for the
    rest, the one it wraps."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes | bytearray | memoryview[Any]] = []
        self._num_bytes = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Gathers; nothing is copied, so `data` must not change afterwards (uvicorn's is bytes)."""
        if not data:
            return
        if not self._gathered:
            self._loop.call_soon(self.flush)
        self._gathered.append(data)
        self._num_bytes += len(data)
        if self._num_bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hands on what was gathered."""
        gathered, self._gathered, self._num_bytes = self._gathered, [], 0
        if gathered and not self._transport.is_closing():
            self._transport.write(b"".join(gathered))

    def close(self) -> None:
        """Closes once all is written."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Closes at once; what was gathered is lost."""
        self._gathered.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """As the transport's own."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """As the transport's own."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """As the transport's own."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport's own."""
        return self._transport.get_extra_info(name, default)


class OneWriteHttp(BoundedHttp):
    """A connection over a transport that gathers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begins with a connection."""
        self._gathering = OneWrite(transport, self.loop)
        super().connection_made(self._gathering)

    def on_response_complete(self) -> None:
        """Sends a whole reply on its way."""
        self._gathering.flush()
        super().on_response_complete()
