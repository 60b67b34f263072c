"""What is refused before anything is scored, and how the reply says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.api.json_io import parse_json, render_json
from service.errors import MalformedBody
from tests.api.conftest import Serve
from tests.fakes import FakeServedModel

PAIR = {"prompt": "p", "response": "r"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b'{"pairs": [',
        b'{"pairs": [{"prompt": "\xff", "response": "r"}]}',
        b'{"pairs": [{"prompt": "\xed\xa0\x80", "response": "r"}]}',
        b'{"pairs": [], "deadline_ms": NaN}',
        b'{"pairs": [], "deadline_ms": -Infinity}',
        b"[" * 100_000,
        b'{"pairs": [], "deadline_ms": ' + b"1" * 5000 + b"}}",
        b"\xef\xbb\xbf{}",
    ],
    ids=["empty", "blank", "open", "cut", "utf8", "surrogate", "nan", "inf", "deep", "long-number", "bom"],
)
async def test_a_body_that_is_not_json_is_400(serve: Serve, body: bytes) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", content=body)

    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "malformed_body"
    assert reply.json()["error"]["retryable"] is False


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "pairs", "required"),
        ([], "", "valid dictionary"),
        (None, "", "valid dictionary"),
        ({"pairs": None}, "pairs", "valid list"),
        ({"pairs": [], "pair": []}, "pair", "unknown field"),
        ({"pairs": [], "\ud800": []}, "", "valid string"),
        ({"pairs": [PAIR, {**PAIR, "respons": "x"}]}, "pairs[1].respons", "unknown field"),
        ({"pairs": [PAIR, {"prompt": "p"}]}, "pairs[1]", "given prompt; allowed: exactly one of"),
        ({"pairs": [{}]}, "pairs[0]", "given none; allowed: exactly one of"),
        ({"pairs": [{**PAIR, "rendered": "t"}]}, "pairs[0]", "given prompt + response + rendered"),
        ({"pairs": [{"prompt_ids": [1], "response": "r"}]}, "pairs[0]", "given response + prompt_ids"),
        ({"pairs": [{"prompt": 5, "response": "r"}]}, "pairs[0].prompt", "valid string"),
        ({"pairs": [{"prompt": [{"role": "user"}], "response": ""}]}, "pairs[0].prompt[0].content", "required"),
        (
            {"pairs": [{"prompt": [{"role": "user", "content": "", "name": "x"}], "response": ""}]},
            "pairs[0].prompt[0].name",
            "unknown field",
        ),
        ({"pairs": [{"prompt_ids": [1, "2"], "response_ids": []}]}, "pairs[0].prompt_ids[1]", "valid integer"),
        ({"pairs": [{"prompt_ids": [True], "response_ids": []}]}, "pairs[0].prompt_ids[0]", "valid integer"),
        ({"pairs": [{"prompt_ids": [1.0], "response_ids": []}]}, "pairs[0].prompt_ids[0]", "valid integer"),
        ({"pairs": [{**PAIR, "id": 5}]}, "pairs[0].id", "valid string"),
        ({"pairs": [], "deadline_ms": 0}, "deadline_ms", "greater than or equal to 1"),
        ({"pairs": [], "deadline_ms": "5"}, "deadline_ms", "valid integer"),
        ({"pairs": [], "deadline_ms": 10**12}, "deadline_ms", "less than or equal to"),
        ({"pairs": [], "truncation": "left"}, "truncation", "'error', 'prompt_left', 'response_right' or 'model'"),
        ({"pairs": [], "priority": "high"}, "priority", "'interactive' or 'bulk'"),
        ({"pairs": [], "explain": 1}, "explain", "valid boolean"),
        ({"pairs": [], "model": 1}, "model", "valid string"),
    ],
)
async def test_a_wrong_field_is_422_and_named(serve: Serve, body: Any, param: str, words: str) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", content=json.dumps(body))

    error = reply.json()["error"]
    assert reply.status_code == 422
    assert error["code"] == "invalid_fields"
    assert error.get("param", "") == param
    assert words in error["message"]


async def test_a_long_list_of_complaints_is_cut(serve: Serve) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", json={"pairs": [{}] * 500})

    assert "(and 497 more)" in reply.json()["error"]["message"]
    assert len(reply.text) < 1000


async def test_the_error_never_repeats_the_callers_text(serve: Serve) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", json={"pairs": [{"prompt": {"private": 1}, "response": "private"}]})

    assert reply.status_code == 422
    assert "private" not in reply.text


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "application/x-www-form-urlencoded", "text/plain; charset=latin-1"]
)
async def test_a_json_body_is_read_whatever_its_content_type_says(serve: Serve, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    async with serve() as client:
        reply = await client.post("/v1/score", content=json.dumps({"pairs": [PAIR]}), headers=headers)

    assert reply.status_code == 200
    assert len(reply.json()["results"]) == 1


async def test_a_refused_body_never_reaches_the_model(serve: Serve) -> None:
    model = FakeServedModel()
    async with serve(model) as client:
        await client.post("/v1/score", json={"pairs": [PAIR, {}]})
        await client.post("/v1/score", content=b"{")

    assert model.submitted == []


@pytest.mark.parametrize("text", ['"\\ud800"', '{"a": "\\udfff\\ud800"}', '["\\ud83d\\ude00"]'])
def test_lone_surrogates_survive_reading_and_writing(text: str) -> None:
    assert parse_json(render_json(parse_json(text.encode()))) == json.loads(text)


def test_nan_is_refused_on_the_slow_way_too() -> None:
    with pytest.raises(MalformedBody, match="NaN is not a JSON number"):
        parse_json(b'["\\ud800", NaN]')
