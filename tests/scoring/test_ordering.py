"""Scores become an order."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.scoring.ordering import margin, rank_order

FP32_MAX = 3.4028234663852886e38
FP32_MIN = 1.401298464324817e-45

finite = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=30)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], ()),
        ([1.0], (0,)),
        ([1.0, 2.0], (1, 0)),
        ([2.0, 2.0, 2.0], (0, 1, 2)),
        ([0.5, 2.0, 0.5, 2.0], (1, 3, 0, 2)),
        ([0.0, -0.0], (0, 1)),
        ([-0.0, 0.0], (0, 1)),
        ([-FP32_MAX, FP32_MAX, 0.0], (1, 2, 0)),
        ([0.0, FP32_MIN, -FP32_MIN], (1, 0, 2)),
    ],
    ids=["none", "one", "two", "all-equal", "ties", "zero", "minus-zero", "largest", "smallest"],
)
def test_the_best_comes_first_and_ties_keep_their_order(scores: list[float], expected: tuple[int, ...]) -> None:
    assert rank_order(scores) == expected


@given(finite)
def test_an_order_is_a_permutation_that_never_rises(scores: list[float]) -> None:
    order = rank_order(scores)

    assert sorted(order) == list(range(len(scores)))
    for first, second in pairwise(order):
        assert scores[first] > scores[second] or (scores[first] == scores[second] and first < second)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_order(bad: float) -> None:
    with pytest.raises(ValueError, match=r"scores\[1\]"):
        rank_order([0.0, bad])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([], None), ([1.0], None), ([1.0, 1.0], 0.0), ([0.5, 2.0, 1.5], 0.5), ([-FP32_MAX, FP32_MAX], 2 * FP32_MAX)],
    ids=["none", "one", "tie", "three", "largest"],
)
def test_the_margin_is_best_minus_second(scores: list[float], expected: float | None) -> None:
    assert margin(scores) == expected


@given(finite)
def test_a_margin_is_never_negative(scores: list[float]) -> None:
    found = margin(scores)

    assert (found is None) == (len(scores) < 2)
    assert found is None or found >= 0
