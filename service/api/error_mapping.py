"""From errors to replies: the one place where an error becomes a response.

Our own errors know their code and status (`service.errors`); FastAPI's and unexpected ones get theirs here. An
error becomes an `ErrorReport` (status, code, message); the dialect of the request's path gives it its shape.
Dialects bring an `ErrorShape` of their own; every other path speaks the native one. Nothing here decides whether
something is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from service.api.json_io import JsonReply
from service.errors import Overloaded, RewardServiceError
from service.observability.events import RequestRefused

KNOWN_ERRORS: Final = (RewardServiceError, RequestValidationError, HTTPException)
"""What a handler may raise to be answered by name; anything else is a fault of ours."""

RETRY_AFTER_S: Final = 2
"""Whole seconds to wait after a 503 that does not know better: a start-up, a lost frame."""


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """A whole request's failure, before a dialect gives it a shape."""

    status: int
    code: str
    message: str
    is_retryable: bool = False
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


ErrorShape = Callable[[ErrorReport], tuple[int, object]]
"""How a dialect says it: the status it uses and the JSON body."""


def native_shape(report: ErrorReport) -> tuple[int, object]:
    """Gives the native shape, `{"error": {...}}`."""
    error: dict[str, object] = {"code": report.code, "message": report.message, "retryable": report.is_retryable}
    if report.param is not None:
        error["param"] = report.param
    return report.status, {"error": error}


def item_error(error: RewardServiceError) -> dict[str, object]:
    """Gives the native shape of one pair's error inside a reply."""
    item: dict[str, object] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    if error.param is not None:
        item["param"] = error.param
    return item


def report_of(error: Exception) -> ErrorReport:
    """Says what an error means for its whole request; an unexpected one tells nothing of the inside."""
    if isinstance(error, RewardServiceError):
        return _report_of_ours(error)
    if isinstance(error, RequestValidationError):
        return _report_of_validation(error)
    if isinstance(error, HTTPException):
        return _report_of_http(error)
    return ErrorReport(500, "internal", "an unexpected error; the server's log has it under this X-Request-Id")


def error_response(error: Exception, scope: Scope) -> Response:
    """Renders an error in its dialect's shape and tells the observer that the request was refused."""
    report = report_of(error)
    status, body = _shape_for(scope)(report)
    state = scope.get("state", {})
    refusal = RequestRefused(
        request_id=state.get("request_id", ""),
        run_id=state.get("run_id", ""),
        route=route_of(scope),
        status=status,
        code=report.code,
        reason=report.message,
    )
    scope["app"].state.observer.notify(refusal)
    return JsonReply(body, status_code=status, headers=dict(report.headers))


async def handle_error(request: Request, error: Exception) -> Response:
    """FastAPI's exception handler for everything we know by name."""
    return error_response(error, request.scope)


def route_of(scope: Scope) -> str:
    """Returns the template of the route that matched, for labels and logs; `other` for none.

    A request refused before it was routed counts for the route it would have taken.
    """
    if "route" in scope:
        return str(scope["route"].path)
    routes = (route for route in scope["app"].routes if isinstance(route, Route))
    return next((route.path for route in routes if route.path_regex.match(scope["path"])), "other")


def not_ready_reply(content: object) -> Response:
    """The reply of a probe, whatever its dialect's words, while no score can be had."""
    return JsonReply(content, status_code=503, headers={"Retry-After": str(RETRY_AFTER_S)})


def _shape_for(scope: Scope) -> ErrorShape:
    """A handler that serves several dialects on one path may name its shape in the request's state."""
    chosen: ErrorShape | None = scope.get("state", {}).get("error_shape")
    if chosen is not None:
        return chosen
    for pattern, shape in scope["app"].state.error_shapes:
        if pattern.match(scope["path"]):
            found: ErrorShape = shape
            return found
    return native_shape


def _report_of_ours(error: RewardServiceError) -> ErrorReport:
    headers: dict[str, str] = {}
    if error.status_hint == 503:
        headers["Retry-After"] = str(error.retry_after_s if isinstance(error, Overloaded) else RETRY_AFTER_S)
    if error.status_hint == 408:
        headers["Connection"] = "close"  # the rest of the body would be read as the next request
    if error.status_hint == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return ErrorReport(error.status_hint, error.code, error.message, error.retryable, error.param, headers)


def _report_of_validation(error: RequestValidationError) -> ErrorReport:
    """Names the field and what is wrong with it, never the value: values are callers' texts."""
    complaints = [_complaint(detail) for detail in error.errors()]
    first_param, _ = complaints[0]
    shown = "; ".join(f"{param}: {text}" if param else text for param, text in complaints[:3])
    more = f" (and {len(complaints) - 3} more)" if len(complaints) > 3 else ""
    return ErrorReport(422, "invalid_fields", _printable(shown + more), param=_printable(first_param) or None)


def _complaint(detail: Mapping[str, Any]) -> tuple[str, str]:
    param = _path_of(detail["loc"])
    if detail["type"] == "extra_forbidden":
        return param, "unknown field"
    return param, str(detail["msg"]).removeprefix("Value error, ")


def _path_of(loc: tuple[int | str, ...]) -> str:
    """Writes `("body", "pairs", 3, "prompt")` as `pairs[3].prompt`, without the tags of unions, `<…>`."""
    path = ""
    for part in loc[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):
            path += f".{part}" if path else part
    return path


def _report_of_http(error: HTTPException) -> ErrorReport:
    codes = {404: "not_found", 405: "method_not_allowed"}
    messages = {
        404: "no such route; /docs lists those there are",
        405: f"this route does not take this method; allowed: {(error.headers or {}).get('Allow', 'see /docs')}",
    }
    code = codes.get(error.status_code, "http_error")
    message = messages.get(error.status_code, str(error.detail))
    return ErrorReport(error.status_code, code, message, headers=dict(error.headers or {}))


def _printable(text: str) -> str:
    """Keeps names callers made up from breaking the reply: lone surrogates become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
