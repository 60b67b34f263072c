"""From what callers give to bytes, and the cut into requests."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_client import InvalidPair, Pair
from reward_client._pairs import EncodedPair, as_pair, encode, grouped_order
from reward_client._settings import Limits
from reward_client._splitting import take_request

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("given_pair", "body"),
    [
        (("Hi", "Hello"), {"prompt": "Hi", "response": "Hello"}),
        ((MESSAGES, ""), {"prompt": MESSAGES, "response": ""}),
        ({"prompt": "Hi", "response": "Hello", "id": "a"}, {"prompt": "Hi", "response": "Hello", "id": "a"}),
        (Pair(prompt_ids=(1, 2), response_ids=()), {"prompt_ids": [1, 2], "response_ids": []}),
        ({"rendered": "[INST] Hi [/INST]"}, {"rendered": "[INST] Hi [/INST]"}),
        (("e\u0301 \u2028 \U0001f600", "\x00"), {"prompt": "e\u0301 \u2028 \U0001f600", "response": "\x00"}),
        (("half \ud83d", "x"), {"prompt": "half \ud83d", "response": "x"}),
    ],
    ids=["tuple", "messages", "mapping", "ids", "rendered", "unicode", "lone surrogate"],
)
def test_a_pair_is_sent_as_it_was_given(given_pair: Any, body: dict[str, object]) -> None:
    assert json.loads(encode(as_pair(given_pair, 0), 0).body) == body


@pytest.mark.parametrize(
    ("given_pair", "message"),
    [
        ("text", "is a str"),
        (("one",), "is a tuple"),
        (MESSAGES * 2, "has a dict as prompt"),
        (("Hi", ["Hello"]), "list as response"),
        ((b"Hi", "Hello"), "bytes as prompt"),
        ({"prompt": "Hi"}, "has prompt; allowed"),
        ({"prompt_ids": [1]}, "has prompt_ids; allowed"),
        (Pair("Hi", "Hello", prompt_ids=[1], response_ids=[2]), "has prompt and response and prompt_ids"),
        ({"prompt": "Hi", "respose": "Hello"}, "the field 'respose'; allowed"),
        ({"prompt": "Hi", "response": "Hello", "id": 7}, "int as id"),
        (Pair(), "no content"),
    ],
)
def test_another_shape_is_refused_by_name(given_pair: Any, message: str) -> None:
    with pytest.raises(InvalidPair, match="pair 3 ") as raised:
        as_pair(given_pair, 3)

    assert message in str(raised.value)


@pytest.mark.parametrize(
    "pair",
    [
        Pair(prompt_ids=[1.5], response_ids=[2]),  # type: ignore[list-item]
        Pair([{"role": "user", "content": object()}], "x"),
        Pair([{"role": "user", "content": float("nan")}], "x"),
    ],
    ids=["fractional id", "object", "NaN"],
)
def test_what_json_cannot_hold_is_refused_before_anything_is_sent(pair: Pair) -> None:
    with pytest.raises(InvalidPair, match="pair 3 "):
        encode(pair, 3)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), max_size=30), st.integers(1, 6))
def test_requests_hold_every_pair_once_in_order_within_the_limits(kinds: list[tuple[int, int]], max_pairs: int) -> None:
    pairs = [EncodedPair(i, None, group, b"x" * num_bytes) for i, (group, num_bytes) in enumerate(kinds)]
    waiting, requests = deque(pairs), []

    while waiting:
        requests.append(take_request(waiting, Limits(max_pairs, max_bytes=500)))

    assert [pair for request in requests for pair in request] == pairs
    for request in requests:
        assert 1 <= len(request) <= max_pairs
        assert len(request) == 1 or sum(len(pair.body) + 1 for pair in request) <= 500


def test_a_group_that_does_not_fit_any_more_goes_whole_into_the_next_request() -> None:
    groups = [0, 0, 0, 1, 1, 2]
    waiting = deque(EncodedPair(i, None, group, b"x") for i, group in enumerate(groups))

    sizes = []
    while waiting:
        sizes.append(len(take_request(waiting, Limits(max_pairs=4))))

    assert sizes == [3, 3]


def test_a_group_larger_than_a_request_is_cut_where_it_must_be() -> None:
    waiting = deque(EncodedPair(i, None, 0, b"x") for i in range(10))

    sizes = []
    while waiting:
        sizes.append(len(take_request(waiting, Limits(max_pairs=4))))

    assert sizes == [4, 4, 2]


def test_pairs_with_an_equal_prompt_follow_each_other_in_their_own_order() -> None:
    pairs = [
        Pair("a", "1"),
        Pair(MESSAGES, "2"),
        Pair("a", "3"),
        Pair(prompt_ids=[1], response_ids=[2]),
        Pair([dict(MESSAGES[0])], "4"),
        Pair(prompt_ids=[1], response_ids=[3]),
    ]

    assert grouped_order(pairs) == [0, 2, 1, 4, 3, 5]
