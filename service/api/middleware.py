"""What happens to every request before and after its route, as pure ASGI: outermost first, in `app.App`'s order.

`RequestIdentity` names the request, keeps query keys out of everything further in, and states that it finished;
`UnexpectedErrors` turns what nobody foresaw into a 500; `ApiKey` (`service.api.keys`) asks for the key; `BodyLimit`
counts bytes while they arrive. None of them knows a route's meaning or a body's content.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.arrival import arrival_of
from service.api.error_mapping import error_response, route_of
from service.api.headers import header_of, wire_name
from service.errors import BodyTooLarge, SlowBody
from service.observability.events import RequestFinished
from service.observability.observers import HeldBack, Observer

_logger = logging.getLogger(__name__)

_REQUEST_ID: Final = wire_name("X-Request-Id")
_RUN_ID: Final = wire_name("X-Run-Id")
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_RUN_ID_CHARS: Final = 128

CLIENT_LEFT: Final = 499
"""nginx' status for a caller who left before the reply began; only ever seen in metrics and logs."""


class RequestIdentity:
    """Gives each request an id (the caller's, if it is sane), strips `?key=`, and reports the finished request.

    Afterwards `scope["state"]` holds `request_id`, `run_id`, `query_key`, and the `observer` of the request's events:
    it tells them once the next piece of the reply has been sent.
    """

    def __init__(self, app: ASGIApp, observer: Observer, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._observer = observer
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        _identify(scope)
        request_id: str = scope["state"]["request_id"]
        held_back = scope["state"]["observer"] = HeldBack(self._observer)
        started_s = self._clock()
        status = CLIENT_LEFT

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (_REQUEST_ID, request_id.encode("ascii"))]
                await send(message)
            else:
                await send(message)
                held_back.let_go()

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            held_back.let_go()
            self._observer.notify(
                RequestFinished(
                    request_id=request_id,
                    run_id=scope["state"]["run_id"],
                    method=scope["method"],
                    route=route_of(scope),
                    status=status,
                    duration_s=self._clock() - started_s,
                )
            )


class UnexpectedErrors:
    """Answers 500 without a word of the inside, and logs the traceback under the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection. A reply that has begun cannot be taken back: the connection is broken instead."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def watched_send(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception as error:
            _logger.exception("request %s failed", scope["state"]["request_id"])
            if has_started:
                raise
            await error_response(error, scope)(scope, receive, send)


class BodyLimit:
    """Refuses bodies over the limit: at once where the length is told, else as soon as too much has arrived.

    A body that has not arrived whole in time is refused too: half a body would hold its connection for ever.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        told = header_of(scope, b"content-length")
        if told.isdecimal() and int(told) > self._max_body_bytes:
            error = self._too_large(f"{told} bytes")
            await error_response(error, scope)(scope, receive, send)
            return
        arrival = arrival_of(scope, receive)
        num_bytes = 0
        is_whole = False
        ends_at_s = asyncio.get_running_loop().time() + self._timeout_s

        async def counting_receive() -> Message:
            nonlocal num_bytes, is_whole
            if is_whole:  # what comes now is only that the caller leaves
                return await receive()
            message = await (receive() if arrival.is_whole else self._in_time(receive, ends_at_s, num_bytes))
            is_whole = not message.get("more_body", False)
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_body_bytes:
                raise self._too_large(f"more than {self._max_body_bytes} bytes")
            return message

        await self._app(scope, counting_receive, send)

    async def _in_time(self, receive: Receive, ends_at_s: float, num_bytes: int) -> Message:
        try:
            async with asyncio.timeout_at(ends_at_s) as bound:
                return await receive()
        except TimeoutError:
            if not bound.expired():
                raise
            raise SlowBody(f"{num_bytes} bytes of the body came in {self._timeout_s:g} s; allowed: all") from None

    def _too_large(self, given: str) -> BodyTooLarge:
        return BodyTooLarge(f"the body has {given}; allowed: {self._max_body_bytes} bytes (max_body_bytes)")


def _identify(scope: Scope) -> None:
    words = scope["query_string"].decode("latin-1")
    query = parse_qsl(words, keep_blank_values=True) if words else []
    said = dict(query)
    own_id = header_of(scope, _REQUEST_ID)
    run_id = header_of(scope, _RUN_ID) or said.get("run", "")
    scope["state"] = {
        **scope.get("state", {}),
        "request_id": own_id if _SANE_ID.fullmatch(own_id) else str(uuid.uuid4()),
        "run_id": "".join(filter(str.isprintable, run_id))[:_RUN_ID_CHARS],
        "query_key": said.get("key", ""),
    }
    if "key" in said:
        # The server's access log reads this same dictionary after us.
        scope["query_string"] = urlencode([pair for pair in query if pair[0] != "key"]).encode("ascii")
