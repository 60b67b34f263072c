"""The table of error codes, from the tree of errors and from what the edge makes of other failures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from docs._generate.page import Block, table
from service.api.error_mapping import report_of
from service.errors import (
    BadConversation,
    BadText,
    BadToken,
    Cancelled,
    DeadlineExceeded,
    EmptyPrompt,
    EngineFailure,
    NonFinite,
    OutOfMemory,
    RewardServiceError,
    SettingsError,
    TooLong,
)

OF_A_PAIR: Final = (
    EmptyPrompt,
    BadConversation,
    BadText,
    BadToken,
    TooLong,
    NonFinite,
    OutOfMemory,
    DeadlineExceeded,
    Cancelled,
    EngineFailure,
)
"""What may stand in the result of one pair."""

OF_THE_EDGE: Final = (
    (
        RequestValidationError([{"loc": ("body", "x"), "type": "extra_forbidden", "msg": ""}]),
        "The body is JSON, but a field is unknown, missing or of the wrong type; `param` names the first.",
    ),
    (HTTPException(404), "There is no such route."),
    (HTTPException(405), "The route does not take this method; the header `Allow` says which it takes."),
    (RuntimeError(), "Nobody foresaw this; the server's log has the traceback under the reply's `X-Request-Id`."),
)
"""Failures that are no error of ours, with their meaning."""


def errors(block: Block) -> str:
    """Every code with where it stands, its status, whether trying again may help, and its meaning."""
    rows = [
        (f"`{kind.code}`", _place(kind), str(kind.status_hint), _yes(kind.retryable), _meaning(kind))
        for kind in served_errors()
    ]
    for error, meaning in OF_THE_EDGE:
        report = report_of(error)
        rows.append((f"`{report.code}`", "request", str(report.status), _yes(report.is_retryable), meaning))
    return table(("code", "of a", "status", "retryable", "meaning"), *rows)


def served_errors(base: type[RewardServiceError] = RewardServiceError) -> Iterator[type[RewardServiceError]]:
    """Every error that a caller may see; settings are wrong at start-up only."""
    for kind in base.__subclasses__():
        if kind is not SettingsError:
            yield kind
            yield from served_errors(kind)


def _place(kind: type[RewardServiceError]) -> str:
    if kind is DeadlineExceeded:
        return "pair; request if no pair finished"
    return "pair" if kind in OF_A_PAIR else "request"


def _meaning(kind: type[RewardServiceError]) -> str:
    first_sentence, *_ = " ".join((kind.__doc__ or "").split()).split(". ")
    return first_sentence.rstrip(".") + "."


def _yes(value: bool) -> str:
    return "yes" if value else "no"
