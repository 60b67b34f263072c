"""What NVIDIA's reward NIM documents, and how NeMo-Curator, CAMEL and the documentation's own example read it."""

from __future__ import annotations

import pytest

from service.errors import EngineFailure, TooLong
from tests.contract.test_classify_and_rerank import MESSAGES, native
from tests.fakes import FakeServedModel, fake_card

PATH = "/v1/chat/completions"
BODY = {"model": "nvidia/nemotron-4-340b-reward", "messages": MESSAGES, "stream": False}


def read_content(reply):
    """As the NIM's documentation does it: split at commas, then at colons."""
    content = reply.json()["choices"][0]["message"]["content"]
    return {name: float(value) for name, value in (pair.split(":") for pair in content.split(","))}


def read_logprobs(reply):
    """As NeMo-Curator and CAMEL do it: token and logprob."""
    return {entry["token"]: entry["logprob"] for entry in reply.json()["choices"][0]["logprobs"]["content"]}


async def test_content_and_logprobs_hold_the_native_float(serve):
    async with serve() as client:
        reply = await client.post(PATH, json=BODY)
        assert read_content(reply) == read_logprobs(reply) == {"reward": await native(client)}
    assert (reply.json()["object"], reply.json()["model"]) == ("chat.completion", BODY["model"])
    assert reply.headers["X-Score-Transform"] == "raw"


async def test_several_turns_and_a_system_message_are_the_prompt(serve):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    turns += [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "And 2+2?"}]
    async with serve() as client:
        reply = await client.post(PATH, json={"messages": [*turns, {"role": "assistant", "content": "4."}]})
        assert read_content(reply) == {"reward": await native(client, prompt=turns, response="4.")}


@pytest.mark.parametrize("score", [1e-30, -123456.0, 0.10000000149011612, -0.0])
async def test_content_reads_back_as_the_same_float(serve, score):
    async with serve(FakeServedModel(scores={0: score})) as client:
        reply = await client.post(PATH, json=BODY)
    assert repr(read_content(reply)["reward"]) == repr(score) == repr(read_logprobs(reply)["reward"])


async def test_other_objectives_follow_the_score(serve):
    model = FakeServedModel(fake_card(objectives=("helpfulness", "verbosity")), scores={0: 2.5})
    async with serve(model) as client:
        reply = await client.post(PATH, json=BODY)
    assert list(read_content(reply).items()) == [("reward", 2.5), ("helpfulness", 2.5), ("verbosity", 3.5)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stream": True}, "stream"),
        ({"n": 2}, "n is 2"),
        ({"messages": MESSAGES[:1]}, "assistant"),
        ({"messages": MESSAGES[1:]}, "assistant"),
        ({"messages": []}, "assistant"),
        ({"messages": None}, "messages"),
    ],
)
async def test_what_has_no_reward_is_refused_in_openais_shape(serve, changes, words):
    async with serve() as client:
        reply = await client.post(PATH, json=BODY | changes)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["code"]) == (400, "BadRequestError", 400)
    assert words in error["message"]


@pytest.mark.parametrize(("error", "status"), [(TooLong("too long"), 400), (EngineFailure("broke"), 503)])
async def test_a_failure_is_never_a_completion(serve, error, status):
    async with serve(FakeServedModel(errors={0: error})) as client:
        reply = await client.post(PATH, json=BODY)
    assert (reply.status_code, "choices" in reply.json()) == (status, False)
