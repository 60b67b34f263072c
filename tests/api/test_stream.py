"""Results that come as they finish, and callers who leave."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import FastAPI

from service.api.app import create_app
from service.errors import Overloaded, TooLong
from service.observability.events import PairFinished, RequestFinished, RequestRefused
from service.observability.observers import RecordingObserver
from service.types import Conversation, Message
from tests.api.asgi import Connection, settings, settle
from tests.api.conftest import Serve, serving
from tests.fakes import FakeServedModel, FakeStream, building, fake_card, fake_score

NDJSON = {"Accept": "application/x-ndjson"}
PAIRS = [{"id": name, "prompt": "p", "response": name} for name in "abc"]
BODY = json.dumps({"pairs": PAIRS}).encode()
SCORES = [fake_score(Conversation((Message("user", "p"),), name)) for name in "abc"]


def app_over(model: FakeServedModel, observer: RecordingObserver) -> FastAPI:
    return create_app(settings(), building(model), observers=[observer])


async def test_results_come_in_completion_order_and_the_totals_last(serve: Serve) -> None:
    model = FakeServedModel(order=[2, 0, 1], errors={0: TooLong("too long")})
    async with serve(model) as client:
        reply = await client.post("/v1/score", json={"pairs": PAIRS}, headers=NDJSON)

    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    assert [(line["index"], line["id"]) for line in lines[:3]] == [(2, "c"), (0, "a"), (1, "b")]
    assert [line.get("score") for line in lines[:3]] == [SCORES[2], None, SCORES[1]]
    assert lines[1]["error"]["code"] == "too_long"
    assert lines[3] == {
        "model": "demo",
        "fingerprint": fake_card().fingerprint,
        "usage": {"tokens": 18, "computed_tokens": 18, "reused_tokens": 0, "deduplicated_pairs": 0},
        "timings_ms": {"tokenize": 1.0, "queue": 2.0, "compute": 4.0},
    }


async def test_a_streamed_result_equals_the_one_in_a_whole_reply(serve: Serve) -> None:
    body = {"pairs": PAIRS, "explain": True}
    async with serve() as client:
        whole = (await client.post("/v1/score", json=body)).json()["results"]
        lines = (await client.post("/v1/score", json=body, headers=NDJSON)).text.splitlines()

    assert [json.loads(line) for line in lines[:-1]] == whole


async def test_a_result_is_sent_before_the_next_pair_is_scored(observer: RecordingObserver) -> None:
    gate = asyncio.Event()
    app = app_over(FakeServedModel(holds={1: gate}), observer)
    async with serving(app):
        connection = Connection(app, "/v1/score", [BODY], NDJSON)
        served = asyncio.create_task(connection.run())
        first = await connection.wait_for_lines(1)
        assert [line["index"] for line in first] == [0]
        gate.set()
        await served

    assert connection.is_complete
    assert len(connection.lines) == 4


async def test_a_stream_without_pairs_has_only_totals(serve: Serve) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", json={"pairs": []}, headers=NDJSON)

    assert [sorted(json.loads(line)) for line in reply.text.splitlines()] == [
        ["fingerprint", "model", "timings_ms", "usage"]
    ]


async def test_a_refused_stream_has_a_status_and_a_body(serve: Serve) -> None:
    async with serve(FakeServedModel(refusal=Overloaded("full"))) as client:
        reply = await client.post("/v1/score", json={"pairs": PAIRS}, headers=NDJSON)

    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "overloaded"


async def test_a_deadline_in_a_stream_is_the_error_of_each_pair_that_missed_it(serve: Serve) -> None:
    model = FakeServedModel(holds={1: asyncio.Event()})
    async with serve(model) as client:
        reply = await client.post("/v1/score", json={"pairs": PAIRS, "deadline_ms": 20}, headers=NDJSON)

    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [line["error"]["code"] if "error" in line else "score" for line in lines[:3]] == [
        "score",
        "deadline",
        "deadline",
    ]
    assert "usage" in lines[3]
    assert model.num_closed == 1


@pytest.mark.parametrize(("headers", "status"), [(NDJSON, 200), ({}, 499)], ids=["stream", "whole"])
async def test_a_caller_who_leaves_cancels_what_was_not_computed(
    observer: RecordingObserver, headers: dict[str, str], status: int
) -> None:
    model = FakeServedModel(holds={1: asyncio.Event()})
    app = app_over(model, observer)
    async with serving(app):
        connection = Connection(app, "/v1/score", [BODY], headers)
        served = asyncio.create_task(connection.run())
        await settle()
        assert not served.done()
        connection.leave()
        await served

    assert model.num_closed == 1
    assert [pair.outcome for pair in observer.of_type(PairFinished)] == ["score", "cancelled", "cancelled"]
    assert [request.status for request in observer.of_type(RequestFinished)] == [status]
    assert observer.of_type(RequestRefused) == []


async def test_a_caller_who_leaves_before_the_body_is_complete_is_nobodys_error(observer: RecordingObserver) -> None:
    model = FakeServedModel()
    app = app_over(model, observer)
    async with serving(app):
        connection = Connection(app, "/v1/score", [], {})
        connection.leave()
        await connection.run()

    assert connection.sent == []
    assert model.submitted == []
    assert [request.status for request in observer.of_type(RequestFinished)] == [499]


async def test_a_stream_that_breaks_is_cut_short_and_never_looks_complete(observer: RecordingObserver) -> None:
    model = BreakingModel()
    app = app_over(model, observer)
    async with serving(app):
        connection = Connection(app, "/v1/score", [BODY], NDJSON)
        with pytest.raises(RuntimeError, match="wires crossed"):
            await connection.run()

    assert connection.status == 200
    assert not connection.is_complete
    assert not any("usage" in line for line in connection.lines)


class BreakingModel(FakeServedModel):
    """Its streams raise what they should never raise."""

    def outcome(self, *args: object) -> object:  # type: ignore[override]
        raise RuntimeError("wires crossed")


class ForgetfulModel(FakeServedModel):
    """Its streams end early."""

    async def submit(self, pairs, options) -> FakeStream:  # type: ignore[no-untyped-def]
        return FakeStream(self, pairs, [1], options)


async def test_a_pair_the_model_forgot_still_gets_a_reply_that_is_no_number(serve: Serve) -> None:
    async with serve(ForgetfulModel()) as client:
        results = (await client.post("/v1/score", json={"pairs": PAIRS})).json()["results"]

    assert [result["error"]["code"] if "error" in result else "score" for result in results] == [
        "engine_failure",
        "score",
        "engine_failure",
    ]


async def test_every_pair_of_a_burst_is_reported_exactly_once(serve: Serve, observer: RecordingObserver) -> None:
    gate = asyncio.Event()
    model = FakeServedModel(holds={0: gate})
    async with serve(model) as client:
        calls = [asyncio.create_task(client.post("/v1/score", json={"pairs": PAIRS[:1]})) for _ in range(300)]
        await settle()
        gate.set()
        replies = await asyncio.gather(*calls)

    assert {reply.json()["results"][0]["score"] for reply in replies} == {SCORES[0]}
    assert len(observer.of_type(PairFinished)) == 300
