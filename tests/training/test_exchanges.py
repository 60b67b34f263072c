"""Exchanges: whole, each for itself, and on one side of the wall between training and evaluation."""

import random
import re
from pathlib import Path

import pytest

from training import demo_data
from training.demo_data.answers import Defect
from training.demo_data.exchanges import KIND, load_exchanges, task_of
from training.demo_data.generator import generate
from training.demo_data.lexicon import Split
from training.evaluate import evaluate

SPLITS = pytest.mark.parametrize("split", [Split.TRAIN, Split.HELD_OUT], ids=str)

UNSEEN = "sleepwalk submarine suede handbag darts dartboard marzipan terrarium saxophone freckle peacock kilt".split()  # noqa: SIM905
"""Central words of `natural_prompts_unseen.json`, one or two a prompt."""


@SPLITS
def test_every_exchange_is_whole_and_no_line_is_there_twice(split: Split) -> None:
    exchanges = load_exchanges(split)
    lines = [line for each in exchanges for line in (*each.questions, *each.answers, *each.replies)]

    assert {(len(each.questions), len(each.answers), len(each.replies)) for each in exchanges} == {(2, 2, 3)}
    assert len(set(lines)) == len(lines)
    assert all(line.isascii() and line == line.strip() for line in lines)


def test_two_splits_share_no_line_and_the_test_split_has_none() -> None:
    train, held_out = (
        {line for each in load_exchanges(split) for line in (*each.questions, *each.answers, *each.replies)}
        for split in (Split.TRAIN, Split.HELD_OUT)
    )

    assert len(train) > 10 * len(held_out) > 0
    assert not train & held_out
    assert load_exchanges(Split.TEST) == []


def test_without_a_share_of_them_rankings_are_what_they_were() -> None:
    assert list(generate(0, Split.TRAIN, 5, first=3)) == list(generate(0, Split.TRAIN, 8))[3:]
    assert not any(ranking.kind == KIND for ranking in generate(0, Split.TRAIN, 100))


@SPLITS
def test_of_open_questions_the_share_asked_for_are_exchanges_and_length_says_nothing(split: Split) -> None:
    rankings = list(generate(0, split, 300, exchange_share=1.0))
    kinds = [ranking.kind for ranking in rankings]

    assert 0.5 < kinds.count(KIND) / len(kinds) < 0.85, "the others can be checked"
    assert evaluate(lambda ranking: [len(answer) for answer in ranking.answers], rankings).length_only <= 0.55


def test_answers_and_rude_replies_of_an_exchange_are_as_they_were_written() -> None:
    exchanges = {each.questions: each for each in load_exchanges(Split.TRAIN)}
    replies = {reply.lower() for each in exchanges.values() for reply in each.replies}
    answers = [answer.lower() for each in exchanges.values() for answer in each.answers]
    found = {Defect.NONE: 0, Defect.RUDE: 0}
    for ranking in generate(0, Split.TRAIN, 60, exchange_share=1.0):
        if ranking.kind != KIND:
            continue
        for answer, defect in zip(ranking.answers, ranking.defects, strict=True):
            if defect == Defect.NONE:
                assert any(whole.startswith(answer.lower()) for whole in answers)
                found[Defect.NONE] += 1
            if defect == Defect.RUDE:
                found[Defect.RUDE] += answer.lower() in replies

    assert found[Defect.NONE] > 60
    assert found[Defect.RUDE] > 10


def test_a_task_is_one_exchange_with_some_replies_to_others() -> None:
    exchanges = load_exchanges(Split.HELD_OUT)
    task = task_of(random.Random(0), exchanges)
    (own,) = (each for each in exchanges if task.question in each.questions)

    assert set(own.answers) <= set(task.parts[0])
    assert all(any(answer.startswith(start) for answer in own.answers) for start in task.parts[0])
    assert task.replies[:3] == own.replies
    assert len(task.replies) == 5


@pytest.mark.parametrize("word", UNSEEN)
def test_the_topics_of_the_unseen_prompts_occur_in_no_text_of_training(word: str) -> None:
    folder = Path(demo_data.__file__).parent
    texts = [path.read_text(encoding="utf-8").lower() for path in folder.glob("*.txt") if "test" not in path.stem]

    assert len(texts) > 4
    assert not any(re.search(rf"\b{word}", text) for text in texts)
