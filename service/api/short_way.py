"""A short way to the handlers that take a JSON object: from our own middlewares straight to the function.

FastAPI describes these routes, and answers them wherever this way is not taken; between middleware and handler it made
some 250 calls of Python functions a request, of 3,000 in all on the event loop. This makes two dozen. What a handler
asks for is found out once, from its signature; one that asks for anything else keeps FastAPI's way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import Request, params
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import caller_of, get_caller, get_runtime, get_settings
from service.api.dialects.compat import Desk, get_desk, parse_body
from service.api.error_mapping import KNOWN_ERRORS, error_response
from service.api.json_io import JsonRoute, parse_json
from service.api.runtime import Runtime, Startup
from service.api.scoring_call import Caller


@dataclass(frozen=True, slots=True)
class Asked:
    """What a handler may ask for, of one request; the request's body has been read and cannot be read again from it."""

    body: dict[str, Any]
    request: Request
    runtime: Runtime
    caller: Caller


Getter = Callable[[Asked], Any]

_DEPENDENCIES: dict[Any, Getter] = {
    get_runtime: lambda asked: asked.runtime,
    get_caller: lambda asked: asked.caller,
    get_settings: lambda asked: asked.runtime.settings,
    get_desk: lambda asked: Desk(asked.runtime, asked.caller),
}


@dataclass(frozen=True, slots=True)
class ShortRoute:
    """A route, what its handler is called with, and whether the request's query matters to it."""

    route: JsonRoute
    getters: dict[str, Getter]
    reads_query: bool

    async def answer(self, asked: Asked) -> Response:
        """Calls the handler."""
        reply: Response = await self.route.endpoint(**{name: get(asked) for name, get in self.getters.items()})
        return reply


class ShortWay:
    """Answers requests for short routes, and hands all others on."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], startup: Startup) -> None:
        self._app = app
        self._startup = startup
        self._short_routes = short_routes(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        short = self._short_routes.get((scope["method"], scope["path"]))
        if short is None or (short.reads_query and scope["query_string"]):
            await self._app(scope, receive, send)
            return
        scope["route"] = short.route
        try:
            raw = await _whole_body(receive)
            body = parse_json(raw)
            reply = await self._answer(short, body, scope, receive) if isinstance(body, dict) else None
        except KNOWN_ERRORS as error:
            reply = error_response(error, scope)
        if reply is None:  # FastAPI refuses what is no object, in the same words as on any other route
            await self._app(scope, _received_again(raw, receive), send)
        else:
            await reply(scope, receive, send)

    async def _answer(self, short: ShortRoute, body: dict[str, Any], scope: Scope, receive: Receive) -> Response:
        runtime = await self._startup.runtime_soon()
        return await short.answer(Asked(body, Request(scope, receive), runtime, caller_of(scope, receive, runtime)))


def short_routes(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], ShortRoute]:
    """The routes by method and path whose handlers ask for a JSON object and for nothing that is not known here.

    As in a router, the first of several for one path counts, whether it is short or not.
    """
    found: dict[tuple[str, str], ShortRoute | None] = {}
    for route in routes:
        for method in getattr(route, "methods", None) or ():
            found.setdefault((method, route.path), _short(route))  # type: ignore[attr-defined]
    return {place: short for place, short in found.items() if short is not None}


def _short(route: BaseRoute) -> ShortRoute | None:
    if not isinstance(route, JsonRoute) or route.body_field is None or "{" in route.path:
        return None
    hints = get_type_hints(route.endpoint, include_extras=True)
    if hints.pop("return") is not Response:
        return None
    defaults = {name: given.default for name, given in inspect.signature(route.endpoint).parameters.items()}
    getters = {name: _getter(hint, defaults[name]) for name, hint in hints.items()}
    known = {name: getter for name, getter in getters.items() if getter is not None}
    reads_query = any(isinstance(default, params.Query) for default in defaults.values())
    return ShortRoute(route, known, reads_query) if len(known) == len(getters) else None


def _getter(hint: Any, default: Any) -> Getter | None:
    """How to get what a parameter asks for; None if only FastAPI knows."""
    if isinstance(default, params.Query):
        value = default.default
        return lambda asked: value
    if default is not inspect.Parameter.empty:
        return None
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    for mark in marks:
        if isinstance(mark, params.Depends):
            return _DEPENDENCIES.get(mark.dependency)
    if kind is Request:
        return lambda asked: asked.request
    if kind == dict[str, Any]:
        return lambda asked: asked.body
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return lambda asked: parse_body(kind, asked.body)
    return None


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
