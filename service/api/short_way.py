"""A short way to the routes that trainers ask thousands of times: from our own middlewares straight to the handler.

FastAPI describes these routes, and answers them wherever this short way is not taken; between middleware and handler
it made some 250 calls of Python functions a request, of 3,000 in all on the event loop. This makes two dozen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import caller_of
from service.api.error_mapping import KNOWN_ERRORS, error_response
from service.api.json_io import JsonRoute, parse_json
from service.api.runtime import Startup

Endpoint = Callable[..., Awaitable[Response]]


class ShortRoute(JsonRoute):
    """A route for a JSON object whose handler may be called as `endpoint(body, request, runtime, caller)`."""


class ShortWay:
    """Answers requests for short routes, and hands all others on."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], startup: Startup) -> None:
        self._app = app
        self._startup = startup
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, ShortRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        try:
            raw = await _whole_body(receive)
            body = parse_json(raw)
            reply = await self._answered(route.endpoint, body, scope, receive) if isinstance(body, dict) else None
        except KNOWN_ERRORS as error:
            reply = error_response(error, scope)
        if reply is None:  # FastAPI refuses what is no object, in the same words as on any other route
            await self._app(scope, _received_again(raw, receive), send)
        else:
            await reply(scope, receive, send)

    async def _answered(self, endpoint: Endpoint, body: dict[str, Any], scope: Scope, receive: Receive) -> Response:
        runtime = await self._startup.runtime_soon()
        return await endpoint(body, Request(scope, receive), runtime, caller_of(scope, receive, runtime))


async def _whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _received_again(body: bytes, receive: Receive) -> Receive:
    """Gives a body once more, then what comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
