"""The bound from bytes is never below the number of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.tokenization.bounds import TokenBound
from service.types import Conversation, Message, RenderedText, TokenIds
from tests.tokenization import tiny_tokenizers as tiny
from tests.tokenization.properties import ENCODERS, questions, seeded, texts


@seeded
@given(turns=st.lists(questions, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2), response=texts)
def test_no_conversation_has_more_tokens_than_its_bound(
    chatml: Path, llama2: Path, qwen: Path, turns: list[str], response: str
) -> None:
    roles = ("user", "assistant")
    pair = Conversation(tuple(Message(roles[i % 2], text) for i, text in enumerate(turns)), response)

    for folder in (chatml, llama2, qwen):
        encoder, _ = ENCODERS[folder]
        assert len(encoder.encode(pair).ids) <= encoder.upper_bound_tokens(pair)


@seeded
@given(text=questions.map(lambda text: text + "x"))
def test_no_rendered_text_has_more_tokens_than_its_bound(chatml: Path, llama2: Path, qwen: Path, text: str) -> None:
    for folder in (chatml, llama2, qwen):
        encoder, _ = ENCODERS[folder]
        pair = RenderedText(text)
        assert len(encoder.encode(pair).ids) <= encoder.upper_bound_tokens(pair)


@pytest.mark.parametrize("turns", [["system", "user"], ["user"] * 7, ["system"] + ["user", "assistant"] * 3 + ["user"]])
def test_further_turns_of_any_kind_stay_within_the_bound(chatml: Path, turns: list[str]) -> None:
    encoder = tiny.encoder(chatml)
    pair = Conversation(tuple(Message(role, "🙂") for role in turns), "")

    assert len(encoder.encode(pair).ids) <= encoder.upper_bound_tokens(pair)


def test_control_tokens_of_the_template_are_within_the_bound(chatml: Path) -> None:
    jinja = "{% for m in messages %}" + "<|im_start|>" * 9 + "{{ m.content }}{% endfor %}"
    encoder = tiny.encoder(chatml, jinja=jinja)
    pair = tiny.say("𝕏", "𝕏")  # unknown to the vocabulary: a token for each of four bytes

    assert len(encoder.encode(pair).ids) == 27
    assert encoder.upper_bound_tokens(pair) >= 27


def test_ids_are_counted_exactly(chatml: Path) -> None:
    assert tiny.encoder(chatml).upper_bound_tokens(TokenIds((1, 2), (3,))) == 3


def test_pairs_that_cannot_be_scored_have_a_bound_too(chatml: Path) -> None:
    bound = tiny.encoder(chatml).upper_bound_tokens(Conversation((), "\ud800"))

    assert bound > 0


@pytest.mark.parametrize(
    ("normalizers", "text", "at_least"),
    [
        (("NFC",), "\U0001d160", 12),
        (("NFKC",), "\ufdfa", 33),
        (("Precompiled",), "\ufdfa", 33),
        (("Prepend", "Replace"), "é", 2),
        ((), "abc", 3),
    ],
)
def test_text_that_normalisation_lengthens_is_counted_as_it_will_be(
    normalizers: tuple[str, ...], text: str, at_least: int
) -> None:
    assert TokenBound(normalizers, 0, 0).of(RenderedText(text)) >= at_least
