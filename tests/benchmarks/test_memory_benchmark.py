"""The memory benchmark asks for what it says, on a real server for a few seconds."""

from __future__ import annotations

import json
import random

import pytest

from benchmarks.memory import longest_and_short, main, random_call


def num_tokens(pair):
    return len(pair["prompt_ids"]) + len(pair["response_ids"])


def test_one_pair_is_as_long_as_is_allowed_and_a_thousand_are_short():
    longest, *short = longest_and_short(random.Random(1), 4096, range(10, 20))

    assert num_tokens(longest) == 4096
    assert len(short) == 1_000
    assert max(map(num_tokens, short)) <= 16
    assert {token for pair in (longest, *short) for token in pair["prompt_ids"]} <= set(range(10, 20))


def test_random_lengths_reach_from_one_token_to_the_longest():
    rng = random.Random(2)
    lengths = [num_tokens(pair) for _ in range(300) for pair in random_call(rng, 4096, range(10, 20))]

    assert (min(lengths), max(lengths)) == (1, max(lengths))
    assert 3_500 < max(lengths) <= 4096


@pytest.mark.long
def test_the_demo_stays_within_its_budget_for_some_seconds(capsys):
    main(["demo", "--minutes", "0.05", "--serve", "--threads 1"])

    report = json.loads(capsys.readouterr().out)
    assert report["peak_bytes"]["ready"] <= report["peak_bytes"]["random_lengths"] <= 1.05 * report["budget_bytes"]
    assert report["tokens"] > 4096
