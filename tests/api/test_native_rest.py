"""Tokenize, verify, models and info."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.types import EncodedPair, GoldenCheck
from tests.api.conftest import Serve
from tests.fakes import FakeServedModel, fake_card

PAIR = {"prompt": "Hi", "response": "yes"}


async def test_tokenize_shows_what_would_be_read_and_scores_nothing(serve: Serve) -> None:
    model = FakeServedModel()
    async with serve(model) as client:
        body = {"pairs": [PAIR, {"prompt": "", "response": ""}, {"prompt_ids": [1, 2], "response_ids": [3]}]}
        reply = (await client.post("/v1/tokenize", json=body)).json()

    text, failed, ids = reply["results"]
    assert text == {
        "index": 0,
        "id": None,
        "rendered": "user: Hi\nyes",
        "ids": list(b"user: Hi\nyes"),
        "cuts": [0, 9],
        "read_positions": [11],
        "probe": None,
        "prompt_tokens": 9,
        "response_tokens": 3,
        "truncated_tokens": 0,
        "ended": None,
    }
    assert (failed["index"], failed["error"]["code"]) == (1, "empty_prompt")
    assert (ids["ids"], ids["rendered"], ids["ended"]) == ([1, 2, 3], None, True)
    assert reply["fingerprint"] == fake_card().fingerprint
    assert model.submitted == []


async def test_tokenize_agrees_with_what_score_explains(serve: Serve) -> None:
    async with serve() as client:
        shown = (await client.post("/v1/tokenize", json={"pairs": [PAIR]})).json()["results"][0]
        body = {"pairs": [PAIR], "explain": True}
        explained = (await client.post("/v1/score", json=body)).json()["results"][0]

    assert {name: explained[name] for name in shown} == shown


@pytest.mark.parametrize(
    ("change", "status"),
    [({"model": "x"}, 404), ({"fingerprint": "x"}, 412), ({"pairs": [PAIR] * 3}, 413), ({"extra": 1}, 422)],
    ids=["model", "fingerprint", "pairs", "extra"],
)
async def test_tokenize_refuses_what_score_refuses(serve: Serve, change: dict[str, Any], status: int) -> None:
    async with serve(max_pairs_per_request=2) as client:
        tokenized = await client.post("/v1/tokenize", json={"pairs": [PAIR], **change})
        scored = await client.post("/v1/score", json={"pairs": [PAIR], **change})

    assert (tokenized.status_code, scored.status_code) == (status, status)
    assert tokenized.json() == scored.json()


class StuckModel(FakeServedModel):
    """Its tokenizer and its golden pairs never come back."""

    async def preview(self, *args: object) -> list[EncodedPair]:  # type: ignore[override]
        await asyncio.Event().wait()
        return []

    async def verify(self) -> list[GoldenCheck]:
        await asyncio.Event().wait()
        return []


async def test_nothing_hangs_longer_than_the_servers_bound(serve: Serve) -> None:
    async with serve(StuckModel(), default_timeout_s=0.01) as client:
        tokenized = await client.post("/v1/tokenize", json={"pairs": [PAIR]})
        verified = await client.post("/v1/verify")

    assert (tokenized.status_code, verified.status_code) == (504, 504)
    assert tokenized.json()["error"]["code"] == "deadline"


@pytest.mark.parametrize("body", [None, {}, {"model": None}, {"model": "demo"}], ids=str)
async def test_verify_reports_each_golden_pair(serve: Serve, body: dict[str, object] | None) -> None:
    checks = [
        GoldenCheck("good", 1.5, 1.25, 0.5),
        GoldenCheck("off", 1.5, 3.0, 0.5),
        GoldenCheck("lost", 1.5, None, 0.5, "frame lost"),
        GoldenCheck("nan", 1.5, float("nan"), 0.5),
    ]
    async with serve(FakeServedModel(checks=checks)) as client:
        reply = await client.post("/v1/verify", json=body) if body is not None else await client.post("/v1/verify")

    shown = reply.json()
    first = {"name": "good", "expected": 1.5, "actual": 1.25, "difference": -0.25, "tolerance": 0.5}
    assert shown["ok"] is False
    assert shown["checks"][0] == {**first, "ok": True, "error": None}
    assert [check["ok"] for check in shown["checks"]] == [True, False, False, False]
    assert [check["actual"] for check in shown["checks"]] == [1.25, 3.0, None, None]
    assert shown["checks"][2]["error"] == "frame lost"


async def test_verify_is_ok_when_every_pair_is(serve: Serve) -> None:
    async with serve() as client:
        assert (await client.post("/v1/verify")).json()["ok"] is True


async def test_verify_refuses_unknown_models_and_fields(serve: Serve) -> None:
    async with serve() as client:
        unknown = await client.post("/v1/verify", json={"model": "x"})
        extra = await client.post("/v1/verify", json={"models": "x"})

    assert (unknown.status_code, extra.status_code) == (404, 422)


async def test_models_are_listed_in_openais_shape_with_what_a_caller_needs(serve: Serve) -> None:
    async with serve(FakeServedModel(), FakeServedModel(card=fake_card("org/other"))) as client:
        listed = (await client.get("/v1/models")).json()
        one = (await client.get("/v1/models/org/other")).json()
        none = await client.get("/v1/models/org/none")

    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]] == ["demo", "org/other"]
    assert one == listed["data"][1]
    assert one == {
        "id": "org/other",
        "object": "model",
        "created": 1_790_000_000,
        "owned_by": "reward-server",
        "fingerprint": fake_card("org/other").fingerprint,
        "max_tokens": 4096,
        "max_model_len": 4096,
        "head": "linear 192 -> 1",
        "readout": "last token",
        "objectives": [],
        "aliases": [],
        "verified": True,
    }
    assert none.status_code == 404


async def test_info_shows_settings_limits_and_numerics_but_no_secret(serve: Serve) -> None:
    model = FakeServedModel()
    async with serve(model, api_keys=["s3cret"], max_pairs_per_request=7) as client:
        model.not_ready_because = "cold"
        reply = await client.get("/v1/info?key=s3cret")

    shown = reply.json()
    assert "s3cret" not in reply.text
    assert shown["settings"]["api_keys"] == ["***"]
    assert shown["limits"] == {
        "max_pairs_per_request": 7,
        "max_body_bytes": 67108864,
        "max_queue_tokens": 67108864,
        "max_queue_pairs": 65536,
        "default_timeout_s": 100.0,
    }
    entry = shown["models"][0]
    assert (entry["device"], entry["device_name"], entry["numeric_mode"]) == ("cpu", "fake", {"dtype": "float32"})
    assert (entry["max_frame_tokens"], entry["frame_sizes"]) == (2048, [512, 2048])
    assert (entry["ready"], entry["reason"], entry["details"]) == (False, "cold", {"license": "apache-2.0"})
