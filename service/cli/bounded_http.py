"""uvicorn's HTTP/1.1 by httptools (llhttp, Node's parser), with the bounds that uvicorn's protocol for it lacks.

On a lone call it takes 0.85 of the time of h11, a parser in Python. But by itself it keeps a head without end as long
as that grows, adds the fields behind a chunked body to the request's headers, drops the body of a request that offers
an upgrade (Java's client offers HTTP/2 with every first request), lets requests in that name no host, and waits for
ever for the end of a head.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.arrival import EXTENSION, Arrival

PENDING_BYTES: Final = 16 * 1024
"""The most that may pass without a whole head, a piece of a body or an end; one read of the socket may go beyond."""

HEAD_S: Final = 60.0
"""How long a head may take, from its first byte or, of a connection's first request, from when that was made."""


class BoundedHttp(HttpToolsProtocol):
    """A connection whose heads, chunk lines and trailers have an end, and which never upgrades.

    It tells each request what it knows of its arrival (`service.api.arrival`).
    """

    _num_pending = 0
    _offers_upgrade = False
    _is_in_body = False
    _maybe_waiting_since_s: float | None = None
    _maybe_timer: asyncio.TimerHandle | None = None

    def __init__(self, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._arrivals: deque[Arrival] = deque()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Waits for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the requests that have not been answered."""
        super().connection_lost(exc)
        if self._maybe_timer is not None:
            self._maybe_timer.cancel()
        while self._arrivals:
            self._arrivals.popleft().leave()

    def data_received(self, data: bytes) -> None:
        """Parses what came, and refuses what is no HTTP or stays unfinished for too long."""
        self._unset_keepalive_if_required()
        self._num_pending += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self.send_400_response(f"Invalid HTTP request: {_reason(error)}")
            return
        if self._num_pending > PENDING_BYTES:
            self.send_400_response(
                f"{self._num_pending} bytes of a head, or between pieces of a body; allowed: {PENDING_BYTES}"
            )
        elif self._num_pending and not self._is_in_body:
            self._wait_for_head()
        else:
            self._wait_no_more()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP."""
        self._refuse(400, msg)

    def _refuse(self, status: int, msg: str) -> None:
        """Refuses and closes; closes only, where a reply has begun that this one would fall into."""
        self.logger.warning(msg)
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(msg))]
            head = [b"%b: %b\r\n" % field for field in (*self.server_state.default_headers, *fields)]
            reply = [STATUS_LINE[status], *head, b"connection: close\r\n\r\n", msg.encode("ascii")]
            self.transport.write(b"".join(reply))
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Lets a request in that names its host, as RFC 9112, 3.2 asks; what comes behind its body is no header of it.

        Raises:
            ValueError: If the host is missing or said twice; the parser makes a refusal of it.
        """
        self._num_pending = 0
        self.headers[:] = ((name, value.rstrip(b" \t")) for name, value in self.headers)
        num_hosts = sum(name == b"host" for name, _ in self.headers)
        if num_hosts > 1 or (num_hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise ValueError(f"{num_hosts} Host headers; allowed: one")
        self._offers_upgrade = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._offers_upgrade:
            self._is_in_body = True
            self._arrivals.append(arrival := Arrival())
            self.scope["extensions"] = {EXTENSION: arrival}  # type: ignore[dict-item]  # ours is no dictionary
            super().on_headers_complete()
            self.headers = []

    def on_body(self, body: bytes) -> None:
        """Takes a piece of a body."""
        self._num_pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends a request."""
        self._num_pending = 0
        if not self._offers_upgrade:
            self._is_in_body = False
            super().on_message_complete()
            if self._arrivals:  # none if the reply came before the end of the body
                self._arrivals[-1].is_whole = True

    def on_response_complete(self) -> None:
        """Ends the earliest request that has not been answered."""
        if self._arrivals:  # none on a connection that is lost
            self._arrivals.popleft()
        super().on_response_complete()

    def _wait_for_head(self) -> None:
        """Notes that a head is to come, or has not come to its end."""
        if self._maybe_waiting_since_s is None:
            self._maybe_waiting_since_s = self.loop.time()
        if self._maybe_timer is None:
            self._maybe_timer = self.loop.call_later(HEAD_S, self._look)

    def _wait_no_more(self) -> None:
        """Notes that it is the caller who waits."""
        self._maybe_waiting_since_s = None

    def _look(self) -> None:
        """Gives up whoever has taken too long over a head; how long a body may take is the app's to say."""
        self._maybe_timer = None
        if self._maybe_waiting_since_s is None or self.transport.is_closing():
            return
        left_s = self._maybe_waiting_since_s + HEAD_S - self.loop.time()
        if left_s > 0:
            self._maybe_timer = self.loop.call_later(left_s, self._look)
        elif self._num_pending == 0:
            self.transport.close()
        else:
            self._refuse(408, f"{self._num_pending} bytes of a head in {HEAD_S:.0f} s, and no end of it")

    def _parse(self, data: bytes | memoryview) -> None:
        """Feeds the parser; a request that offers an upgrade is read once more, without the offer."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._offers_upgrade:
                    raise httptools.HttpParserError("CONNECT is not served") from None
                data = memoryview(data)[upgrade.args[0] :]
                head, self.parser = self._head_without_upgrade(), httptools.HttpRequestParser(self)
                self.parser.feed_data(head)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode("ascii")
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])


def _reason(error: Exception) -> str:
    """What the parser, or the callback it was in, has to say."""
    said = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
    return str(said or error).encode("ascii", "replace").decode("ascii").replace("\n", " ")
