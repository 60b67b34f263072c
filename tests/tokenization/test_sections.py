"""BOS and EOS policies, and the parts of a pair, on ids alone."""

from __future__ import annotations

import pytest

from service.tokenization.sections import (
    BosPolicy,
    EosPolicy,
    Sections,
    apply_bos,
    apply_eos,
    longest_suffix,
    split_sections,
)

BOS, EOS = 1, 2


@pytest.mark.parametrize(
    ("policy", "front"),
    [(BosPolicy.ONE, (1,)), (BosPolicy.NONE, ()), (BosPolicy.DOUBLE, (1, 1)), (BosPolicy.STRIP, (1,))],
)
@pytest.mark.parametrize("num_written", [0, 1, 2, 3])
def test_the_policy_alone_says_how_many_bos_stand_in_front(
    policy: BosPolicy, front: tuple[int, ...], num_written: int
) -> None:
    written = Sections((BOS,) * num_written + (5, BOS, 6, 7), prompt_tokens=num_written + 3)

    assert apply_bos(written, BOS, policy) == Sections(
        (*front, 5, BOS, 6, 7), prompt_tokens=len(front) + 3, num_bos=len(front)
    )


@pytest.mark.parametrize("policy", BosPolicy)
def test_a_model_without_bos_gets_none(policy: BosPolicy) -> None:
    pair = Sections((5, 6, 7), prompt_tokens=2)

    assert apply_bos(pair, None, policy) == pair


@pytest.mark.parametrize(
    ("policy", "given", "expected"),
    [
        (EosPolicy.TEMPLATE, (5, 6), (5, 6)),
        (EosPolicy.TEMPLATE, (5, 6, EOS), (5, 6, EOS)),
        (EosPolicy.APPEND, (5, 6), (5, 6, EOS)),
        (EosPolicy.APPEND, (5, 6, EOS), (5, 6, EOS)),
        (EosPolicy.NONE, (5, 6), (5, 6)),
        (EosPolicy.NONE, (5, 6, EOS), (5, 6)),
    ],
)
def test_the_policy_says_whether_a_closing_eos_stands_at_the_end(
    policy: EosPolicy, given: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert apply_eos(Sections(given, prompt_tokens=1), EOS, policy).ids == expected


def test_an_appended_eos_is_a_closing_token_and_a_removed_one_is_not() -> None:
    closed = Sections((5, 6, EOS), prompt_tokens=1, closing_tokens=1)

    assert apply_eos(Sections((5, 6), prompt_tokens=1), EOS, EosPolicy.APPEND).closing_tokens == 1
    assert apply_eos(closed, EOS, EosPolicy.NONE).closing_tokens == 0


def test_a_removed_eos_leaves_no_token_counted_that_is_not_there() -> None:
    assert apply_eos(Sections((5, EOS), prompt_tokens=2), EOS, EosPolicy.NONE) == Sections((5,), prompt_tokens=1)


def test_the_longest_known_header_and_closing_count() -> None:
    parts = split_sections(
        (1, 5, 90, 91, 20, 80, 81), 4, bos_id=BOS, headers=[(91,), (90, 91)], closings=[(81,), (80, 81), (7, 8)]
    )

    assert parts == Sections((1, 5, 90, 91, 20, 80, 81), 4, num_bos=1, header_tokens=2, closing_tokens=2)


def test_a_response_holds_its_own_closing_only() -> None:
    parts = split_sections((5, 80, 81), 2, bos_id=None, headers=(), closings=[(80, 81), (81,)])

    assert parts.closing_tokens == 1


def test_no_ending_matches_ids_shorter_than_itself() -> None:
    assert longest_suffix((5,), [(4, 5), ()]) == 0
