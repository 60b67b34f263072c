"""Readouts that need a token of their own: appended, every step, the gate's marker; and what is refused without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_store.manifest import Readout, ReadoutKind
from service.errors import BadConversation, TooLong
from service.tokenization.readout import read_positions
from service.types import Truncation
from tests.tokenization.tiny_tokenizers import as_ids, encoder, id_of, say, write_chatml


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chatml(tmp_path_factory.mktemp("chatml"))


def test_the_appended_token_ends_the_pair_and_is_read(chatml: Path) -> None:
    pad = id_of(chatml, "<pad>")
    plain = encoder(chatml).encode(say("Hello?"))
    pair = encoder(chatml, readout=Readout(ReadoutKind.APPENDED_ID, token_id=pad)).encode(say("Hello?"))

    assert pair.ids == (*plain.ids, pad)
    assert pair.reads == (len(plain.ids),)
    assert (pair.response_tokens, pair.truncated_tokens) == (plain.response_tokens + 1, 0)


def test_a_token_that_ends_the_pair_already_is_not_appended_again(chatml: Path) -> None:
    pad = id_of(chatml, "<pad>")
    made = encoder(chatml, readout=Readout(ReadoutKind.APPENDED_ID, token_id=pad))
    pair = made.encode(say("Hello?"))

    assert made.encode(as_ids(pair.ids, pair.prompt_tokens)).ids == pair.ids


def test_truncation_on_the_right_keeps_the_appended_token(chatml: Path) -> None:
    pad = id_of(chatml, "<pad>")
    readout = Readout(ReadoutKind.APPENDED_ID, token_id=pad)
    whole = encoder(chatml).encode(say("Hello?")).ids
    for max_tokens in (len(whole) - 3, len(whole), len(whole) + 1):
        made = encoder(chatml, readout=readout, max_tokens=max_tokens, truncation_side="right")
        pair = made.encode(say("Hello?"), Truncation.MODEL)
        kept = min(len(whole), max_tokens - 1)
        assert pair.ids == (*whole[:kept], pad)
        assert pair.truncated_tokens == len(whole) - kept
    with pytest.raises(TooLong):
        encoder(chatml, readout=readout, max_tokens=len(whole)).encode(say("Hello?"))


@pytest.mark.parametrize("kind", [ReadoutKind.EVERY_ID, ReadoutKind.LAST_OF_ID])
def test_a_pair_without_the_token_that_is_read_is_refused(kind: ReadoutKind) -> None:
    with pytest.raises(BadConversation, match="holds no token 9"):
        read_positions([1, 2, 3], Readout(kind, token_id=9))


def test_a_pair_without_the_gates_marker_is_refused() -> None:
    with pytest.raises(BadConversation, match=r"no assistant header \(ids \[2, 4\]\)"):
        read_positions([1, 2, 3], Readout(gate_marker=(2, 4)))


def test_the_gate_reads_where_the_last_marker_begins() -> None:
    assert read_positions([2, 4, 1, 2, 4, 5], Readout(gate_marker=(2, 4))) == ((5, 3), None)


@pytest.mark.parametrize("user_specials", ["parse", "escape"])
def test_steps_are_marked_where_the_caller_parts_them(chatml: Path, user_specials: str) -> None:
    pad = id_of(chatml, "<pad>")
    made = encoder(
        chatml,
        readout=Readout(ReadoutKind.EVERY_ID, token_id=pad),
        step_mark="<pad>",
        step_separator="\n\n",
        user_specials=user_specials,
    )
    pair = made.encode(say("Hello?", "One.\n\nTwo.\n\nThree."))

    assert len(pair.reads) == 3
    assert [pair.ids[read] for read in pair.reads] == [pad] * 3
    assert pair.rendered is not None
    assert "One.<pad>Two.<pad>Three.<pad>" in pair.rendered


def test_a_response_that_holds_the_mark_is_left_as_it_is_where_marks_are_parsed(chatml: Path) -> None:
    pad = id_of(chatml, "<pad>")
    readout = Readout(ReadoutKind.EVERY_ID, token_id=pad)
    made = encoder(chatml, readout=readout, step_mark="<pad>", user_specials="parse")

    assert len(made.encode(say("Hello?", "One.<pad>Two.\n\nStill two.<pad>")).reads) == 2
