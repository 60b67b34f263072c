"""What OpenRLHF 0.11 and slime 624b824 send, and what they read from the reply."""

from __future__ import annotations

import pytest

from service.errors import EngineFailure, NonFinite, TooLong
from tests.fakes import FakeServedModel

PLAIN = {"prompt": "What is 2+2?", "response": "It is 4."}
CHATML = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\nIt is 4.<|im_end|>\n"


async def native(client) -> float:
    reply = await client.post("/v1/score", json={"pairs": [PLAIN]})
    score: float = reply.json()["results"][0]["score"]
    return score


@pytest.mark.parametrize(
    ("query", "prompt"),
    [
        (CHATML, "cut off"),
        ("<s> [INST] What is 2+2? [/INST] It is 4.</s>", "x"),
        ("What is 2+2?It is 4.", "What is 2+2?"),
    ],
)
async def test_openrlhf_gets_the_same_float_from_any_policy_template(serve, query, prompt):
    async with serve() as client:
        reply = await client.post("/get_reward", json={"query": [query], "prompts": [prompt], "labels": [None]})
        assert reply.status_code == 200
        assert reply.json()["rewards"] == reply.json()["scores"] == [await native(client)]
        assert reply.json()["extra_logs"]["raw_reward"] == reply.json()["rewards"]


async def test_openrlhf_with_fewer_queries_than_urls_gets_empty_lists(serve):
    async with serve() as client:
        reply = await client.post("/get_reward", json={"query": [], "prompts": [], "labels": []})
    assert (reply.status_code, reply.json()["rewards"], reply.json()["scores"]) == (200, [], [])


@pytest.mark.parametrize(
    ("error", "status"), [(TooLong("too long"), 422), (EngineFailure("broke"), 503), (NonFinite("NaN"), 422)]
)
async def test_a_failed_pair_fails_its_request_and_is_never_a_number(serve, error, status):
    async with serve(FakeServedModel(errors={1: error})) as client:
        reply = await client.post("/get_reward", json={"query": [CHATML, CHATML], "prompts": ["", ""]})
        assert reply.status_code == status
        assert "item 1" in reply.json()["error"]["message"]
        assert "rewards" not in reply.json()


async def test_openrlhf_text_whose_response_cannot_be_found_is_refused(serve):
    async with serve() as client:
        reply = await client.post("/get_reward", json={"query": ["words"], "prompts": ["other"]})
    assert reply.status_code == 422
    assert "--policy-template" in reply.json()["error"]["message"]


@pytest.mark.parametrize("prompt", ["What is 2+2?", [{"role": "user", "content": "What is 2+2?"}]])
async def test_slime_gets_a_bare_number(serve, prompt):
    async with serve() as client:
        reply = await client.post("/slime", json={"prompt": prompt, "response": "It is 4.", "label": "42"})
        assert reply.json() == await native(client)


async def test_slime_rendered_text_and_dict(serve):
    opening = CHATML.removesuffix("It is 4.<|im_end|>\n")
    body = {"prompt": opening, "response": "It is 4.<|im_end|>", "label": None}
    async with serve() as client:
        reply = await client.post("/slime?as=dict", json=body)
        assert reply.json() == {"score": await native(client), "ended": True}


async def test_as_is_takes_text_as_the_models_own(serve):
    async with serve(policy_template="as-is") as client:
        reply = await client.post("/slime", json={"prompt": "own ", "response": "text"})
        same = await client.post("/v1/score", json={"pairs": [{"rendered": "own text"}]})
    assert reply.json() == same.json()["results"][0]["score"]
