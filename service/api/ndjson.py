"""Newline-delimited JSON, one line as soon as there is one; a caller who leaves closes the source at once."""

from __future__ import annotations

from typing import Final, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.arrival import arrival_of
from service.api.headers import header_of
from service.api.json_io import render_json
from service.api.scoring_call import unless_disconnected

NDJSON_TYPE: Final = "application/x-ndjson"


class LineSource(Protocol):
    """Yields JSON-ready values; closed exactly once, whether or not it was read to its end."""

    def __aiter__(self) -> LineSource:
        """Returns itself."""

    async def __anext__(self) -> object:
        """Waits for the next value."""

    async def aclose(self) -> None:
        """Stops whatever the values come from."""


class NdjsonReply(Response):
    """Streams a source's values, one JSON line each."""

    media_type = NDJSON_TYPE

    def __init__(self, source: LineSource) -> None:
        super().__init__()
        del self.headers["content-length"]  # not known before the end
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the reply; a source that raises breaks the connection, which a client cannot mistake for the end."""
        try:
            await unless_disconnected(arrival_of(scope, receive), self._send_lines(send))
        except ClientDisconnect:
            return  # nobody is left to tell
        finally:
            await self._source.aclose()

    async def _send_lines(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for value in self._source:
            line = render_json(value) + b"\n"
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def wants_ndjson(request: Request) -> bool:
    """Says whether the caller asked for lines."""
    return NDJSON_TYPE in header_of(request.scope, b"accept").lower()
