"""JSON in and out, by our rules: exact floats, lone surrogates survive, NaN and Infinity do not exist.

orjson does the work; the standard library takes over where orjson refuses what we accept (lone surrogates, so
that one bad text can be one pair's error). Both write a float as the shortest text that reads back as the same.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from service.errors import MalformedBody

JSON_TYPE: Final = "application/json"
_JSON_HEADER: Final = (b"content-type", JSON_TYPE.encode())


def parse_json(raw: bytes) -> object:
    """Reads a body.

    Raises:
        MalformedBody: If it is empty, not UTF-8, not JSON, nested beyond reason, or holds NaN or Infinity.
    """
    if not raw.strip():
        raise MalformedBody("the body is empty; allowed: a JSON object")
    try:
        parsed: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _parse_slowly(raw)
    return parsed


def render_json(value: object) -> bytes:
    """Writes a reply; the caller has seen to it that every float is finite."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, such as a pair's id: written as the escape it came as
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


class JsonReply(Response):
    """A JSON response written by `render_json`."""

    media_type = JSON_TYPE

    def render(self, content: object) -> bytes:
        """Writes the body."""
        return render_json(content)


class JsonRoute(APIRoute):
    """A route whose body is JSON whatever its Content-Type says, parsed by `parse_json`: curl's default included."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Parses the body before FastAPI looks at it."""
        handle: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

        async def parse_then_handle(request: Request) -> Response:
            if self.body_field is None:
                return await handle(request)
            is_required = self.body_field.field_info.is_required()
            raw = await request.body()
            if not raw and not is_required:
                return await handle(request)
            return await handle(_ParsedRequest(request, parse_json(raw), raw))

        return parse_then_handle


class _ParsedRequest(Request):
    """A request that is known to be JSON; FastAPI takes `json()` as it is."""

    def __init__(self, request: Request, parsed: object, raw: bytes) -> None:
        headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
        super().__init__({**request.scope, "headers": [*headers, _JSON_HEADER]}, request.receive)
        self._parsed = parsed
        self._raw = raw

    async def json(self) -> object:
        """Returns the parsed body."""
        return self._parsed

    async def body(self) -> bytes:
        """Returns the body as it came."""
        return self._raw


def _parse_slowly(raw: bytes) -> object:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        parsed: object = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise MalformedBody("the body is nested too deeply") from error
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from error
    return parsed


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
