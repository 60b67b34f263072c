"""Llama-2's own tokenizer, where the machine has it: ids observed with the authors' transformers (4.35.2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from model_store.manifest import Backbone, Limits, Manifest, Template
from service.tokenization.encoder import PairEncoder
from service.tokenization.loading import load_encoder
from service.types import Conversation, Message, RenderedText, Truncation
from tests.tokenization.properties import questions, seeded, texts

FOLDER = Path("/work/shared/data/llama2_tokenizer")
pytestmark = pytest.mark.skipif(
    not (FOLDER / "tokenizer.json").is_file(), reason=f"Llama-2's tokenizer is not at {FOLDER}: its ids are UNCHECKED"
)

CARD = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} </s> [/INST]"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
SAMPLE_A = "1 1 518 25580 29962 15043 29973 29871 2 29871 518 29914 25580 29962 6324 29892 920 508 306 1371 366 29973 2"
SAMPLE_C = (
    "1 1 518 25580 29962 15043 29973 29871 2 29871 518 29914 25580 29962 6324 29892 306 626 263 1371 8159 20255 "
    "29892 920 508 306 1371 366 29973 2"
)
RESPONSES = {
    "Hi, how can I help you?": SAMPLE_A,
    "Hi, I am a helpfull assistant, how can I help you?": SAMPLE_C,
}


def _encoder(max_tokens: int = 2048, **template: object) -> PairEncoder:
    manifest = Manifest(
        "starling",
        Backbone("llama"),
        template=Template(jinja=CARD, cut_after=("[/INST]",), **template),  # type: ignore[arg-type]
        limits=Limits(truncation_side="left"),
    )
    return load_encoder(FOLDER, manifest, vocab_size=32000, max_tokens=max_tokens)


@pytest.fixture(scope="module")
def card() -> PairEncoder:
    return _encoder(bos="double", user_specials="parse", max_user_turns=1)


@pytest.fixture(scope="module")
def escaping() -> PairEncoder:
    return _encoder(bos="one")


@pytest.mark.parametrize("response", RESPONSES, ids=["A", "C"])
def test_the_cards_samples_have_the_ids_of_the_authors_tokenizer(card: PairEncoder, response: str) -> None:
    expected = tuple(int(token) for token in RESPONSES[response].split())
    text = f"<s>[INST] Hello? </s> [/INST] {response}</s>"

    as_text = card.encode(RenderedText(text))
    as_turns = card.encode(Conversation((Message("user", "Hello?"),), response))

    assert as_text.ids == as_turns.ids == expected
    assert as_text == as_turns
    assert as_text.cuts == (0, 14)


def test_left_truncation_keeps_one_bos_and_the_last_tokens() -> None:
    encoder = _encoder(max_tokens=16, bos="double", user_specials="parse")
    expected = [int(token) for token in SAMPLE_A.split()]

    pair = RenderedText("<s>[INST] Hello? </s> [/INST] Hi, how can I help you?</s>")
    assert list(encoder.encode(pair, Truncation.MODEL).ids) == [1, *expected[-15:]]


@seeded
@given(question=questions, answer=texts)
def test_no_control_token_appears_beyond_the_templates_own(escaping: PairEncoder, question: str, answer: str) -> None:
    ids = escaping.encode(Conversation((Message("user", question),), answer)).ids

    assert [token for token in ids if token <= 2] == [1, 2, 2]


@seeded
@given(question=questions, answer=texts)
def test_escaping_changes_nothing_without_control_strings(
    card: PairEncoder, escaping: PairEncoder, question: str, answer: str
) -> None:
    question, answer = (text.replace("<", "(") for text in (question, answer))
    pair = Conversation((Message("user", question),), answer)

    assert (1, *escaping.encode(pair).ids) == card.encode(pair).ids
