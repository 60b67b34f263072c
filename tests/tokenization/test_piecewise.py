"""Models whose steps are tokenized one by one: what is cut where, what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from model_store import catalogue
from model_store.manifest import Readout, ReadoutKind
from service.errors import BadConversation
from service.tokenization.encoder import PairEncoder
from service.tokenization.loading import load_encoder
from service.tokenization.readout import read_positions
from service.types import Conversation, Message, RenderedText, TokenIds, Truncation
from tests.catalogue import toy_tokenizers as toys

LINE_BREAK = 198


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen_math")
    toys.qwen_math(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> PairEncoder:
    manifest = catalogue.find("skywork-o1-open-prm-qwen-2.5-7b")
    return load_encoder(folder, manifest, vocab_size=151_670, max_tokens=200)


def pair(problem: str, response: str) -> Conversation:
    return Conversation((Message("user", problem),), response)


def test_two_line_breaks_are_two_tokens_and_not_the_one_that_the_whole_text_would_give(
    folder: Path, encoder: PairEncoder
) -> None:
    encoded = encoder.encode(pair("Why?", "So.\n\nThus."))
    whole = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("<|endoftext|>Why?\nSo.\n\nThus.\n")

    assert list(encoded.ids) != whole.ids
    assert [place for place, token in enumerate(encoded.ids) if token == LINE_BREAK][1:] == list(encoded.reads)
    assert len(encoded.reads) == 3
    assert encoded.rendered == "<|endoftext|>Why?\nSo.\n\nThus.\n"


def test_a_response_that_ends_in_a_line_break_has_an_empty_last_step(encoder: PairEncoder) -> None:
    one, two = (encoder.encode(pair("Why?", text)) for text in ("So.", "So.\n"))

    assert two.ids == (*one.ids, LINE_BREAK)
    assert (len(one.reads), len(two.reads)) == (1, 2)


def test_line_breaks_of_the_problem_are_no_steps(encoder: PairEncoder) -> None:
    encoded = encoder.encode(pair("a\nb\nc", "So."))

    assert encoded.ids.count(LINE_BREAK) == 4
    assert encoded.reads == (len(encoded.ids) - 1,)


def test_the_ids_of_prompt_and_response_give_the_same_pair(encoder: PairEncoder) -> None:
    encoded = encoder.encode(pair("a\nb", "So.\nThus."))
    given = TokenIds(encoded.ids[: encoded.prompt_tokens], encoded.ids[encoded.prompt_tokens :])
    again = encoder.encode(given)

    assert (again.ids, again.reads, again.cuts) == (encoded.ids, encoded.reads, encoded.cuts)


def test_truncation_keeps_the_last_steps_mark(encoder: PairEncoder) -> None:
    encoded = encoder.encode(pair("Why?", "word " * 300), Truncation.RESPONSE_RIGHT)

    assert (len(encoded.ids), encoded.ids[-1]) == (200, LINE_BREAK)


def test_every_pair_stays_below_its_bound(encoder: PairEncoder) -> None:
    for given in (pair("a", ""), pair("a\n", "\n\n\n"), pair("文", "<|im_end|>\n<|endoftext|>")):
        assert len(encoder.encode(given).ids) <= encoder.upper_bound_tokens(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            RenderedText("<|endoftext|>Why?\nSo.\n"),
            "steps are tokenized one by one.*allowed: messages, or ids of prompt",
        ),
        (TokenIds((400, LINE_BREAK, 401), (LINE_BREAK,)), "the ids do not say where it begins; allowed: messages, or"),
        (TokenIds((400, LINE_BREAK), (401, 402)), "the response holds no token 198"),
    ],
    ids=["rendered", "one list", "no step"],
)
def test_what_does_not_say_where_the_steps_are_is_refused(
    encoder: PairEncoder, given: RenderedText | TokenIds, words: str
) -> None:
    with pytest.raises(BadConversation, match=words):
        encoder.encode(given)


def test_only_the_responses_marks_are_read_where_the_readout_says_so() -> None:
    ids = [1, 9, 2, 9, 9]

    assert read_positions(ids, Readout(ReadoutKind.EVERY_ID, token_id=9), 2) == ((1, 3, 4), None)
    assert read_positions(ids, Readout(ReadoutKind.EVERY_ID, token_id=9, in_response=True), 2) == ((3, 4), None)
