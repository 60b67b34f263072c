"""Every adapter gives a trainer the float of `/v1/score`, on the real server with the demo model."""

from __future__ import annotations

import asyncio

import pytest

from reward_client import Client
from reward_client.adapters import (
    areal_reward,
    best_of_n,
    openrlhf_reward_func,
    trl_reward,
    trl_reward_sync,
    verl_compute_score,
)
from tests.end_to_end.process import running

PROMPT = "What is 2+2?"
ANSWERS = ["2+2 is 4.", "Figure it out yourself, you fool.", ""]
TURNS = [{"role": "user", "content": PROMPT}]
POLICY_PROMPT = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
POLICY_ANSWERS = [f"{answer}<|im_end|>" for answer in ANSWERS]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(tmp_path_factory.mktemp("adapters") / "log", "demo") as server:
        yield server.url


@pytest.fixture(scope="module")
def expected(url):
    with Client(url) as client:
        return client.score([(PROMPT, answer) for answer in ANSWERS]).scores


def test_trl(url, expected):
    arguments = [PROMPT] * 3, ANSWERS, [[1]] * 3
    turns = [TURNS] * 3, [[{"role": "assistant", "content": answer}] for answer in ANSWERS], [[1]] * 3
    for given in (arguments, turns):
        assert asyncio.run(trl_reward(url)(*given)) == expected
        assert trl_reward_sync(url)(*given) == expected


async def test_verl(url, expected):
    compute_score = verl_compute_score(url)
    calls = [compute_score("d", answer, None, {"prompt": PROMPT}) for answer in ANSWERS]

    assert await asyncio.gather(*calls) == expected


def test_openrlhf(url, expected):
    queries = [POLICY_PROMPT + answer for answer in POLICY_ANSWERS]
    rewards = openrlhf_reward_func(url)(queries, [POLICY_PROMPT] * 3, [None] * 3)["rewards"]

    assert [float(reward) for reward in rewards] == expected


def test_areal(url, expected):
    reward = areal_reward(url)

    assert [reward(POLICY_PROMPT, answer, [1], [2]) for answer in POLICY_ANSWERS] == expected


def test_best_of_n(url, expected):
    with Client(url) as client:
        chosen = best_of_n(lambda prompt, count: ANSWERS[:count], 3, prompt=PROMPT, client=client)

    assert chosen.response == ANSWERS[expected.index(max(expected))]
    assert [place.score for place in chosen.ranking.results] == sorted(expected, reverse=True)
    assert chosen.margin == sorted(expected)[2] - sorted(expected)[1]
