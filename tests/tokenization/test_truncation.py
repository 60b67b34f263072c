"""Each truncation policy keeps exactly the ids it promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import TooLong
from service.tokenization.sections import Sections
from service.tokenization.truncation import TruncationSide, cuts_right, truncate
from service.types import Truncation
from tests.tokenization.properties import seeded

NONE, LEFT, RIGHT = TruncationSide.NONE, TruncationSide.LEFT, TruncationSide.RIGHT

PAIR = Sections(
    ids=(1, 1, 10, 11, 12, 13, 90, 91, 20, 21, 22, 23, 80, 81),
    prompt_tokens=8,  # two BOS, four of text, a header of two
    num_bos=2,
    header_tokens=2,
    closing_tokens=2,
)


@pytest.mark.parametrize("policy", Truncation)
@pytest.mark.parametrize("side", TruncationSide)
def test_a_pair_that_fits_is_left_alone(policy: Truncation, side: TruncationSide) -> None:
    assert truncate(PAIR, policy, 14, side) is PAIR


@pytest.mark.parametrize(
    ("policy", "side", "max_tokens", "kept_ids", "prompt_tokens"),
    [
        (Truncation.PROMPT_LEFT, NONE, 12, (1, 1, 12, 13, 90, 91, 20, 21, 22, 23, 80, 81), 6),
        (Truncation.PROMPT_LEFT, NONE, 10, (1, 1, 90, 91, 20, 21, 22, 23, 80, 81), 4),
        (Truncation.RESPONSE_RIGHT, NONE, 13, (1, 1, 10, 11, 12, 13, 90, 91, 20, 21, 22, 80, 81), 8),
        (Truncation.RESPONSE_RIGHT, NONE, 10, (1, 1, 10, 11, 12, 13, 90, 91, 80, 81), 8),
        (Truncation.MODEL, LEFT, 12, (1, 11, 12, 13, 90, 91, 20, 21, 22, 23, 80, 81), 6),
        (Truncation.MODEL, LEFT, 4, (1, 23, 80, 81), 1),
        (Truncation.MODEL, RIGHT, 12, (1, 1, 10, 11, 12, 13, 90, 91, 20, 21, 22, 23), 8),
        (Truncation.MODEL, RIGHT, 5, (1, 1, 10, 11, 12), 5),
    ],
)
def test_a_policy_keeps_exactly_these_ids(
    policy: Truncation, side: TruncationSide, max_tokens: int, kept_ids: tuple[int, ...], prompt_tokens: int
) -> None:
    kept = truncate(PAIR, policy, max_tokens, side)

    assert (kept.ids, kept.prompt_tokens) == (kept_ids, prompt_tokens)


@pytest.mark.parametrize(
    ("policy", "max_tokens", "reason"),
    [
        (Truncation.ERROR, 13, 'the truncation policy is "error"'),
        (Truncation.MODEL, 13, "this model's authors do not truncate"),
        (Truncation.PROMPT_LEFT, 9, "BOS, assistant header and response alone do not fit"),
        (Truncation.RESPONSE_RIGHT, 9, "the prompt and the tokens that close the response alone do not fit"),
    ],
)
def test_what_must_be_kept_and_does_not_fit_is_too_long(policy: Truncation, max_tokens: int, reason: str) -> None:
    with pytest.raises(TooLong) as caught:
        truncate(PAIR, policy, max_tokens, NONE)

    assert caught.value.message == (
        f"the pair has 14 tokens (prompt 8, response 6), this model takes at most {max_tokens}; {reason}. "
        "Policies: error, prompt_left, response_right, model"
    )


@seeded
@given(st.integers(4, 13), st.sampled_from([Truncation.PROMPT_LEFT, Truncation.RESPONSE_RIGHT, Truncation.MODEL]))
def test_a_truncated_pair_has_as_many_tokens_as_are_allowed(max_tokens: int, policy: Truncation) -> None:
    try:
        kept = truncate(PAIR, policy, max_tokens, LEFT)
    except TooLong:
        assert max_tokens < 10
        assert policy is not Truncation.MODEL
        return

    assert len(kept.ids) == max_tokens
    assert 0 <= kept.prompt_tokens <= max_tokens
    assert kept.header_tokens + kept.num_bos <= kept.prompt_tokens or policy is Truncation.MODEL


def test_only_response_right_and_a_right_cutting_model_shorten_the_end() -> None:
    cutting = {(policy, side) for policy in Truncation for side in TruncationSide if cuts_right(policy, side)}

    assert cutting == {(Truncation.MODEL, RIGHT)} | {(Truncation.RESPONSE_RIGHT, side) for side in TruncationSide}
