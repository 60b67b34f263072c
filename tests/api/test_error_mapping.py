"""Every error has one status, one code and one shape; a dialect may bring its own shape."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import APIRouter, Request

from service import errors
from service.api.app import DIALECTS, create_app
from service.api.dialect import Dialect
from service.api.error_mapping import ErrorReport, item_error, native_shape, report_of
from service.errors import RewardServiceError
from tests.api.asgi import settings
from tests.api.conftest import serving
from tests.fakes import FakeServedModel, building

EXPECTED = {
    "InvalidInput": (422, "invalid", False),
    "EmptyPrompt": (422, "empty_prompt", False),
    "BadConversation": (422, "bad_conversation", False),
    "BadText": (422, "bad_text", False),
    "BadToken": (422, "bad_token", False),
    "TooLong": (422, "too_long", False),
    "NonFinite": (422, "non_finite", False),
    "OutOfMemory": (503, "out_of_memory", True),
    "DeadlineExceeded": (504, "deadline", True),
    "Cancelled": (503, "cancelled", True),
    "EngineFailure": (503, "engine_failure", True),
    "Overloaded": (503, "overloaded", True),
    "ModelNotReady": (503, "not_ready", True),
    "UnknownModel": (404, "unknown_model", False),
    "FingerprintMismatch": (412, "fingerprint_mismatch", False),
    "MalformedBody": (400, "malformed_body", False),
    "BodyTooLarge": (413, "too_large", False),
    "SlowBody": (408, "slow_body", True),
    "Unauthorized": (401, "unauthorized", False),
    "SettingsError": (500, "settings", False),
    "QuantizationRefused": (500, "settings", False),
}


def all_errors(base: type[RewardServiceError] = RewardServiceError) -> Iterator[type[RewardServiceError]]:
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from all_errors(child)


def test_the_table_has_a_row_for_every_error() -> None:
    assert {error.__name__ for error in all_errors()} == EXPECTED.keys()


@pytest.mark.parametrize("kind", list(all_errors()), ids=lambda kind: kind.__name__)
def test_an_error_becomes_its_row(kind: type[RewardServiceError]) -> None:
    report = report_of(kind("what was given, what is allowed", param="field"))

    status, code, is_retryable = EXPECTED[kind.__name__]
    assert (report.status, report.code, report.is_retryable) == (status, code, is_retryable)
    assert native_shape(report) == (
        status,
        {
            "error": {
                "code": code,
                "message": "what was given, what is allowed",
                "retryable": is_retryable,
                "param": "field",
            }
        },
    )


@pytest.mark.parametrize("kind", list(all_errors()), ids=lambda kind: kind.__name__)
def test_every_503_says_when_to_try_again(kind: type[RewardServiceError]) -> None:
    headers = report_of(kind("m")).headers

    assert ("Retry-After" in headers) == (kind.status_hint == 503)
    assert headers.get("Retry-After", "1").isdecimal()


def test_an_item_error_has_the_same_shape_without_the_envelope() -> None:
    assert item_error(errors.TooLong("m")) == {"code": "too_long", "message": "m", "retryable": False}


def test_an_unexpected_error_tells_nothing() -> None:
    report = report_of(RuntimeError("inside"))

    assert (report.status, report.code) == (500, "internal")
    assert "inside" not in report.message


def plain_shape(report: ErrorReport) -> tuple[int, object]:
    return 418, {"detail": report.message}


def other_dialect() -> Dialect:
    router = APIRouter()

    @router.post("/other/{name}")
    async def fail(name: str) -> None:
        raise errors.TooLong(f"{name} is too long")

    @router.post("/shared")
    async def fail_as_chosen(request: Request) -> None:
        request.state.error_shape = native_shape
        raise errors.TooLong("too long")

    return Dialect("other", router, plain_shape)


async def test_a_dialect_gives_errors_its_own_shape_wherever_they_arise() -> None:
    app = create_app(
        settings(api_keys=["k"], max_body_bytes=1024),
        building(FakeServedModel()),
        dialects=[*DIALECTS, other_dialect()],
    )
    async with serving(app) as client:
        raised = await client.post("/other/x?key=k")
        no_key = await client.post("/other/x")
        too_large = await client.post("/other/x?key=k", content=b" " * 2000)
        wrong_method = await client.get("/other/x?key=k")
        chosen = await client.post("/shared?key=k")
        native = await client.post("/v1/score?key=k", content=b"{")

    assert (raised.status_code, raised.json()) == (418, {"detail": "x is too long"})
    assert [list(reply.json()) for reply in (no_key, too_large, wrong_method)] == [["detail"]] * 3
    assert (chosen.status_code, list(chosen.json())) == (422, ["error"])
    assert (native.status_code, list(native.json())) == (400, ["error"])


def test_what_trying_again_cannot_mend_is_no_5xx_that_clients_try_again() -> None:
    """`settings` ends a start and is never a reply; `internal` is not an error of ours."""
    assert {kind.code for kind in all_errors() if kind.status_hint >= 500 and not kind.retryable} == {"settings"}
