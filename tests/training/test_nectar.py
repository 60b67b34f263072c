import json
from pathlib import Path

import pytest

from service.types import Message
from training.nectar import format_prompt, parse_prompt, read_rankings, write_rankings
from training.rankings import Ranking


def test_a_single_turn_is_the_users() -> None:
    assert parse_prompt("\n\nHuman: Hi there\n\nAssistant: ") == [("user", "Hi there")]


def test_turns_alternate_and_the_empty_last_one_is_left_out() -> None:
    text = "\n\nHuman: One?\n\nAssistant: Two.\n\nHuman: Three?\n\nAssistant:"

    assert parse_prompt(text) == [("user", "One?"), ("assistant", "Two."), ("user", "Three?")]


def test_paragraphs_and_role_words_inside_a_turn_stay() -> None:
    text = "\n\nHuman: The word Human: is here\n\nand a second paragraph\n\nAssistant: "

    assert parse_prompt(text) == [("user", "The word Human: is here\n\nand a second paragraph")]


@pytest.mark.parametrize(
    "text",
    ["", "Hello", "\n\nHuman: Hi\n\nAssistant: Said already.", "x\n\nHuman: Hi\n\nAssistant: "],
    ids=["empty", "no marker", "ends with an answer", "text before the first turn"],
)
def test_what_is_no_prompt_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a prompt"):
        parse_prompt(text)


def test_format_prompt_is_the_reverse_of_parse_prompt() -> None:
    text = "\n\nHuman: One?\n\nAssistant: Two.\n\nHuman: Three?\n\nAssistant: "

    assert format_prompt(Message(role, content) for role, content in parse_prompt(text)) == text


def test_answers_are_read_best_first(tmp_path: Path) -> None:
    answers = [{"answer": "bad", "rank": 3}, {"answer": "good", "rank": 1}, {"answer": "fair", "rank": 2}]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "\n\nHuman: Q\n\nAssistant: ", "answers": answers, "turns": 1}) + "\n")

    assert list(read_rankings(path)) == [
        Ranking((Message("user", "Q"),), answers=("good", "fair", "bad"), tiers=(1, 2, 3))
    ]


def test_written_rankings_come_back_unchanged(tmp_path: Path) -> None:
    ranking = Ranking((Message("user", "Q é"),), ("a", "b", "c"), (0, 0, 4), "who_has", ("none", "none", "wrong"))

    write_rankings(tmp_path / "rows.jsonl", [ranking])

    assert list(read_rankings(tmp_path / "rows.jsonl")) == [ranking]


def test_rows_with_one_answer_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "\n\nHuman: Q\n\nAssistant: ", "answers": [{"answer": "a", "rank": 1}]}
    path.write_text(json.dumps(row) + "\n\n")

    assert list(read_rankings(path)) == []


def test_a_broken_row_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"prompt": "no answers"}\n')

    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2"):
        list(read_rankings(path))


def test_a_ranking_with_answers_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="best first"):
        Ranking((Message("user", "Q"),), ("a", "b"), (2, 1))
