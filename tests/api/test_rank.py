"""POST /v1/rank."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import NonFinite, TooLong
from service.types import Conversation, Message
from tests.api.conftest import Serve
from tests.fakes import FakeServedModel, fake_card

BODY = {"prompt": "Which?", "responses": ["a", "b", "c"]}
SCORES = {0: 1.5, 1: 0.25, 2: 2.0}


async def test_the_best_response_comes_first(serve: Serve) -> None:
    async with serve(FakeServedModel(scores=SCORES)) as client:
        reply = await client.post("/v1/rank", json=BODY)

    assert reply.status_code == 200
    assert reply.json() == {
        "model": "demo",
        "fingerprint": fake_card().fingerprint,
        "results": [
            {"index": 2, "rank": 1, "score": 2.0},
            {"index": 0, "rank": 2, "score": 1.5},
            {"index": 1, "rank": 3, "score": 0.25},
        ],
        "best": 2,
        "margin": 0.5,
        "errors": [],
        "usage": {"tokens": 42, "computed_tokens": 42, "reused_tokens": 0, "deduplicated_pairs": 0},
        "timings_ms": {"tokenize": 1.0, "queue": 2.0, "compute": 4.0},
    }


async def test_ties_keep_input_order(serve: Serve) -> None:
    async with serve(FakeServedModel(scores=dict.fromkeys(range(3), 1.0))) as client:
        reply = (await client.post("/v1/rank", json=BODY)).json()

    assert [result["index"] for result in reply["results"]] == [0, 1, 2]
    assert reply["margin"] == 0.0


async def test_top_n_cuts_the_list_and_nothing_else(serve: Serve) -> None:
    async with serve(FakeServedModel(scores=SCORES)) as client:
        one = (await client.post("/v1/rank", json={**BODY, "top_n": 1})).json()
        many = (await client.post("/v1/rank", json={**BODY, "top_n": 9})).json()

    assert [result["index"] for result in one["results"]] == [2]
    assert (one["best"], one["margin"]) == (2, 0.5)
    assert len(many["results"]) == 3


async def test_responses_come_back_when_asked_for(serve: Serve) -> None:
    async with serve(FakeServedModel(scores=SCORES)) as client:
        body = {**BODY, "return_responses": True, "top_n": 2}
        reply = (await client.post("/v1/rank", json=body)).json()

    assert [result["response"] for result in reply["results"]] == ["c", "a"]


async def test_failed_responses_are_listed_and_never_ranked(serve: Serve) -> None:
    model = FakeServedModel(scores={**SCORES, 2: float("nan")}, errors={0: TooLong("too long")})
    async with serve(model) as client:
        reply = (await client.post("/v1/rank", json=BODY)).json()

    assert reply["results"] == [{"index": 1, "rank": 1, "score": 0.25}]
    assert [(item["index"], item["error"]["code"]) for item in reply["errors"]] == [
        (0, TooLong.code),
        (2, NonFinite.code),
    ]
    assert (reply["best"], reply["margin"]) == (1, None)


@pytest.mark.parametrize("responses", [[], ["a"]], ids=["none", "one"])
async def test_fewer_than_two_responses_have_no_margin(serve: Serve, responses: list[str]) -> None:
    async with serve() as client:
        reply = (await client.post("/v1/rank", json={**BODY, "responses": responses})).json()

    assert reply["margin"] is None
    assert reply["best"] == (0 if responses else None)


async def test_all_responses_share_the_prompt(serve: Serve) -> None:
    model = FakeServedModel()
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "?"},
    ]
    async with serve(model) as client:
        await client.post("/v1/rank", json={"prompt": turns, "responses": ["a", "b"]})

    prompt = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "?"))
    assert model.submitted[0][0] == [Conversation(prompt, "a"), Conversation(prompt, "b")]


async def test_a_deadline_that_no_response_made_is_504(serve: Serve) -> None:
    async with serve(FakeServedModel(holds={0: asyncio.Event()})) as client:
        reply = await client.post("/v1/rank", json={**BODY, "deadline_ms": 10})

    assert reply.status_code == 504


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "x"}, 404),
        ({"fingerprint": "x"}, 412),
        ({"responses": ["a"] * 5}, 413),
        ({"normalize": "x"}, 422),
        ({"top_n": 0}, 422),
        ({"documents": []}, 422),
        ({"responses": None}, 422),
        ({"prompt": None}, 422),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
async def test_wrong_requests_are_refused(serve: Serve, change: dict[str, object], status: int) -> None:
    async with serve(max_pairs_per_request=4) as client:
        reply = await client.post("/v1/rank", json={**BODY, **change})

    assert reply.status_code == status
