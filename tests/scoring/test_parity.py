"""The two figures that quantization is judged by."""

import math

import pytest

from service.errors import QuantizationRefused
from service.scoring.parity import MIN_MARGINS, Parity, bundled_texts, compare


def test_order_and_margins_are_compared_within_a_prompt_alone():
    parity = compare(["a", "a", "a", "b", "b"], [3.0, 1.0, 0.0, 9.0, 5.0], [3.0, 0.0, 1.0, 9.0, 5.0])

    assert (parity.num_margins, parity.num_responses) == (4, 5)
    assert parity.order_agreement == 3 / 4
    assert parity.margin_error == (1 + 1 + 2 + 0) / (2 + 3 + 1 + 4)


def test_a_shift_that_all_responses_share_is_harmless():
    assert compare(["a"] * 3, [3.0, 1.0, 0.0], [13.0, 11.0, 10.0]) == Parity(1.0, 0.0, 3, 3)


def test_ties_before_are_left_out_and_ties_after_are_lost():
    parity = compare(["a"] * 3, [1.0, 1.0, 0.0], [1.0, 5.0, 1.0])

    assert (parity.num_margins, parity.order_agreement) == (2, 0.5)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(broken):
    prompts, before = ["a"] * 10, [float(number) for number in range(10)]

    with pytest.raises(QuantizationRefused, match="nan"):
        compare(prompts, before, [*before[:-1], broken]).check("int8")


def test_too_few_comparisons_are_refused():
    with pytest.raises(QuantizationRefused, match=rf"only 1 pairs of responses .*\(needed: {MIN_MARGINS}\)"):
        compare(["a", "a"], [1.0, 0.0], [1.0, 0.0]).check("int8")


@pytest.mark.parametrize(
    ("parity", "is_refused"),
    [
        (Parity(0.95, 0.10, 20, 20), False),
        (Parity(0.94, 0.0, 50, 50), True),
        (Parity(1.0, 0.11, 50, 50), True),
    ],
    ids=["at both bounds", "order", "margins"],
)
def test_either_figure_out_of_bounds_is_refused_with_both_and_the_bounds(parity, is_refused):
    if not is_refused:
        parity.check("fp8")
        return
    with pytest.raises(QuantizationRefused) as caught:
        parity.check("fp8")

    for words in ("fp8", f"{parity.order_agreement:.4f}", f"{parity.margin_error:.4f}", "0.95", "0.1)"):
        assert words in str(caught.value)


def test_the_bundled_texts_are_enough_by_themselves():
    texts = bundled_texts()
    prompts = [text.prompt for text in texts]

    assert len(set(texts)) == len(texts) == 48
    assert compare(prompts, list(map(float, range(48))), [0.0] * 48).num_margins == 72
