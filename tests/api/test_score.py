"""POST /v1/score, sentence by sentence of its contract."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from service.errors import EngineFailure, NonFinite, Overloaded, TooLong
from service.types import Conversation, Message, Priority, RenderedText, TokenIds, Truncation
from tests.api.conftest import Serve
from tests.fakes import FakeServedModel, fake_card, fake_score

PAIR = {"prompt": "What is 2+2?", "response": "4"}
PAIR_INPUT = Conversation((Message("user", "What is 2+2?"),), "4")


async def test_a_reply_holds_every_field_of_the_contract(serve: Serve) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", json={"pairs": [{"id": "a", **PAIR}]})

    assert reply.status_code == 200
    assert reply.json() == {
        "model": "demo",
        "fingerprint": fake_card().fingerprint,
        "results": [
            {
                "index": 0,
                "id": "a",
                "score": fake_score(PAIR_INPUT),
                "prompt_tokens": 19,
                "response_tokens": 1,
                "truncated_tokens": 0,
                "ended": None,
            }
        ],
        "usage": {"tokens": 20, "computed_tokens": 20, "reused_tokens": 0, "deduplicated_pairs": 0},
        "timings_ms": {"tokenize": 1.0, "queue": 2.0, "compute": 4.0},
    }


async def test_pairs_arrive_as_they_were_sent(serve: Serve) -> None:
    model = FakeServedModel()
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    pairs: list[Any] = [
        PAIR,
        {"prompt": turns, "response": ""},
        {"prompt_ids": [1, 5, 9], "response_ids": [7, 2]},
        {"prompt_ids": [1], "response_ids": []},
        {"rendered": "<|im_start|>…"},
    ]
    async with serve(model) as client:
        await client.post("/v1/score", json={"pairs": pairs})

    assert model.submitted[0][0] == [
        PAIR_INPUT,
        Conversation((Message("system", "Be kind."), Message("user", "Hi")), ""),
        TokenIds((1, 5, 9), (7, 2)),
        TokenIds((1,), ()),
        RenderedText("<|im_start|>…"),
    ]


async def test_options_arrive_as_they_were_sent(serve: Serve) -> None:
    model = FakeServedModel()
    body = {"pairs": [PAIR], "truncation": "prompt_left", "priority": "bulk", "deadline_ms": 1500, "explain": True}
    async with serve(model) as client:
        await client.post("/v1/score", json=body, headers={"X-Run-Id": "run-7"})
        await client.post("/v1/score?run=run-8", json={"pairs": [PAIR]})

    given, default = (options for _, options in model.submitted)
    assert (given.truncation, given.priority) == (Truncation.PROMPT_LEFT, Priority.BULK)
    assert (given.deadline_s, given.explain, given.run_id, given.dialect) == (1.5, True, "run-7", "native")
    assert (default.truncation, default.priority) == (Truncation.ERROR, Priority.INTERACTIVE)
    assert (default.deadline_s, default.explain, default.run_id) == (100.0, False, "run-8")


async def test_no_pairs_give_no_results(serve: Serve) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", json={"pairs": []})

    assert reply.status_code == 200
    assert reply.json()["results"] == []
    assert reply.json()["usage"] == {"tokens": 0, "computed_tokens": 0, "reused_tokens": 0, "deduplicated_pairs": 0}


async def test_results_are_in_order_whatever_finishes_first(serve: Serve) -> None:
    model = FakeServedModel(order=[2, 0, 1])
    pairs = [{"id": name, "prompt": "p", "response": name} for name in "abc"]
    async with serve(model) as client:
        results = (await client.post("/v1/score", json={"pairs": pairs})).json()["results"]

    assert [(result["index"], result["id"]) for result in results] == [(0, "a"), (1, "b"), (2, "c")]


async def test_one_bad_pair_does_not_spoil_the_others(serve: Serve) -> None:
    model = FakeServedModel(errors={1: TooLong("5000 tokens given; 4096 allowed"), 2: EngineFailure("frame lost")})
    async with serve(model) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR, PAIR, PAIR, PAIR]})

    results = reply.json()["results"]
    assert reply.status_code == 200
    assert [result.get("score") for result in results] == [fake_score(PAIR_INPUT), None, None, fake_score(PAIR_INPUT)]
    assert [sorted(result) for result in results[1:3]] == [["error", "id", "index"]] * 2
    message = "5000 tokens given; 4096 allowed"
    assert results[1]["error"] == {"code": "too_long", "message": message, "retryable": False}
    assert results[2]["error"] == {"code": "engine_failure", "message": "frame lost", "retryable": True}
    assert reply.json()["usage"]["tokens"] == 40


async def test_a_lone_surrogate_is_that_pairs_error(serve: Serve) -> None:
    body = b'{"pairs": [{"id": "\\udfff", "prompt": "\\ud800", "response": "x"}, {"prompt": "p", "response": "r"}]}'
    async with serve() as client:
        reply = await client.post("/v1/score", content=body)

    first, second = reply.json()["results"]
    assert reply.status_code == 200
    assert (first["id"], first["error"]["code"]) == ("\udfff", "bad_text")
    assert second["score"] == fake_score(Conversation((Message("user", "p"),), "r"))


@pytest.mark.parametrize("prompt", ["", [], [{"role": "user", "content": ""}]], ids=["text", "list", "turn"])
async def test_what_a_prompt_means_is_the_models_business(serve: Serve, prompt: object) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", json={"pairs": [{"prompt": prompt, "response": "r"}]})

    assert reply.status_code == 200
    assert reply.json()["results"][0]["error"]["code"] == "empty_prompt"


@pytest.mark.parametrize(
    "score",
    [1.8248999118804932, 0.1, -0.0, 1.401298464324817e-45, 3.4028234663852886e38, -0.3333333432674408],
)
async def test_a_score_is_written_as_the_double_that_equals_it(serve: Serve, score: float) -> None:
    async with serve(FakeServedModel(scores={0: score})) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR]})

    written = json.loads(reply.text)["results"][0]["score"]
    assert written.hex() == score.hex()


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
async def test_a_score_that_is_not_finite_is_an_error(serve: Serve, score: float) -> None:
    async with serve(FakeServedModel(scores={0: score})) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR, PAIR]})

    first, second = reply.json()["results"]
    assert first["error"]["code"] == NonFinite.code
    assert "score" not in first
    assert "score" in second
    assert "NaN" not in reply.text.replace("is NaN or infinite", "")


async def test_explain_adds_what_was_read_and_changes_no_bit_of_the_score(serve: Serve) -> None:
    async with serve() as client:
        plain = (await client.post("/v1/score", json={"pairs": [PAIR]})).json()["results"][0]
        explained = (await client.post("/v1/score", json={"pairs": [PAIR], "explain": True})).json()["results"][0]

    added = {name: value for name, value in explained.items() if name not in plain}
    assert {name: explained[name] for name in plain} == plain
    assert added == {
        "rendered": "user: What is 2+2?\n4",
        "ids": list(b"user: What is 2+2?\n4"),
        "cuts": [0, 19],
        "read_positions": [19],
        "probe": None,
        "token_values": [0.0],
    }


async def test_the_explained_ids_score_the_same(serve: Serve) -> None:
    async with serve() as client:
        body = {"pairs": [PAIR], "explain": True}
        explained = (await client.post("/v1/score", json=body)).json()["results"][0]
        split = explained["prompt_tokens"]
        ids = {"prompt_ids": explained["ids"][:split], "response_ids": explained["ids"][split:]}
        again = (await client.post("/v1/score", json={"pairs": [ids]})).json()["results"][0]

    assert again["score"] == explained["score"]
    assert again["ended"] is True


async def test_several_objectives_are_named(serve: Serve) -> None:
    model = FakeServedModel(card=fake_card(objectives=["help", "safety"]), scores={0: 1.5})
    async with serve(model) as client:
        result = (await client.post("/v1/score", json={"pairs": [PAIR]})).json()["results"][0]

    assert (result["score"], result["objectives"]) == (1.5, {"help": 1.5, "safety": 2.5})


async def test_a_model_is_found_by_name_alias_and_setting(serve: Serve) -> None:
    first, second = FakeServedModel(), FakeServedModel(card=fake_card("org/other", aliases=["other"]))
    async with serve(first, second, model_aliases={"rm": "org/other"}) as client:
        names = [None, "demo", "org/other", "other", "rm"]
        replies = [(await client.post("/v1/score", json={"pairs": [PAIR], "model": name})).json() for name in names]

    assert [reply["model"] for reply in replies] == ["demo", "demo", "org/other", "org/other", "org/other"]


async def test_an_unknown_model_is_404_and_names_those_there_are(serve: Serve) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", content=b'{"pairs": [], "model": "gpt\\ud800"}')

    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "unknown_model"
    assert "allowed: demo" in reply.json()["error"]["message"]


async def test_another_fingerprint_is_412(serve: Serve) -> None:
    async with serve() as client:
        same = await client.post("/v1/score", json={"pairs": [PAIR], "fingerprint": fake_card().fingerprint})
        other = await client.post("/v1/score", json={"pairs": [PAIR], "fingerprint": "sha256:0"})

    assert same.status_code == 200
    assert other.status_code == 412
    assert other.json()["error"]["code"] == "fingerprint_mismatch"
    assert fake_card().fingerprint in other.json()["error"]["message"]


async def test_a_calibration_artefact_nobody_has_is_422(serve: Serve) -> None:
    async with serve() as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR], "normalize": "nectar"})

    assert reply.status_code == 422
    assert reply.json()["error"]["param"] == "normalize"
    assert "no calibration artefact 'nectar'" in reply.json()["error"]["message"]


async def test_too_many_pairs_are_413_with_the_limit(serve: Serve) -> None:
    async with serve(max_pairs_per_request=2) as client:
        enough = await client.post("/v1/score", json={"pairs": [PAIR] * 2})
        too_many = await client.post("/v1/score", json={"pairs": [PAIR] * 3})

    assert enough.status_code == 200
    assert too_many.status_code == 413
    assert too_many.json()["error"]["code"] == "too_large"
    assert "given" not in too_many.json()["error"]["message"]
    assert "has 3 pairs; allowed: 2" in too_many.json()["error"]["message"]


async def test_ten_thousand_pairs_are_fine(serve: Serve) -> None:
    pairs = [{"prompt": "p", "response": str(index)} for index in range(10_000)]
    async with serve() as client:
        reply = await client.post("/v1/score", json={"pairs": pairs})

    assert len({result["index"] for result in reply.json()["results"] if "score" in result}) == 10_000


async def test_overload_is_503_with_retry_after_in_whole_seconds(serve: Serve) -> None:
    async with serve(FakeServedModel(refusal=Overloaded("the line is full", retry_after_s=7))) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR]})

    assert reply.status_code == 503
    assert reply.headers["Retry-After"] == "7"
    assert reply.json() == {"error": {"code": "overloaded", "message": "the line is full", "retryable": True}}


async def test_a_model_that_is_not_ready_is_503_with_retry_after(serve: Serve) -> None:
    model = FakeServedModel()
    async with serve(model) as client:
        model.not_ready_because = "the engine thread is dead"
        reply = await client.post("/v1/score", json={"pairs": [PAIR]})

    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert reply.json()["error"]["code"] == "not_ready"


async def test_a_pair_that_misses_the_deadline_is_an_error_beside_those_that_made_it(serve: Serve) -> None:
    model = FakeServedModel(holds={1: asyncio.Event()})
    async with serve(model) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR, PAIR, PAIR], "deadline_ms": 30})

    results = reply.json()["results"]
    assert reply.status_code == 200
    assert results[0]["score"] == fake_score(PAIR_INPUT)
    assert [result["error"]["code"] for result in results[1:]] == ["deadline", "deadline"]
    assert results[1]["error"]["retryable"] is True
    assert model.num_closed == 1


async def test_a_deadline_that_no_pair_made_is_504(serve: Serve) -> None:
    async with serve(FakeServedModel(holds={0: asyncio.Event()})) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR, PAIR], "deadline_ms": 10})

    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "deadline"
    assert "0.01 s" in reply.json()["error"]["message"]


async def test_a_caller_without_a_deadline_is_bounded_by_the_server(serve: Serve) -> None:
    async with serve(FakeServedModel(holds={0: asyncio.Event()}), default_timeout_s=0.01) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR]})

    assert reply.status_code == 504


async def test_a_deadline_passed_with_an_item_error_is_not_504(serve: Serve) -> None:
    model = FakeServedModel(errors={0: TooLong("too long")}, holds={1: asyncio.Event()})
    async with serve(model) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR, PAIR], "deadline_ms": 10})

    assert reply.status_code == 200
    assert [result["error"]["code"] for result in reply.json()["results"]] == ["too_long", "deadline"]
