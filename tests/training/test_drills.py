"""Drills, and the sentences that checkable answers are put in."""

import random
from itertools import islice

import pytest

from training.demo_data.answers import Defect
from training.demo_data.bank import load_phrases
from training.demo_data.dresses import Dresser
from training.demo_data.drills import drills
from training.demo_data.generator import Generator
from training.demo_data.kinds import TRAIN_KINDS
from training.demo_data.lexicon import Split, load_lexicon


def test_a_drill_is_one_right_answer_and_two_wrong_ones_in_the_same_words() -> None:
    drawn = [*islice(drills(0), 200), *islice(drills(0), 13_000, 13_100)]

    for drill in drawn:
        right, *wrong = drill.answers
        assert drill.defects == (Defect.NONE, Defect.WRONG, Defect.WRONG)
        assert right not in wrong
    assert {drill.kind for drill in drawn} == set(TRAIN_KINDS)


def test_the_same_seed_gives_the_same_drills() -> None:
    assert list(islice(drills(3), 30)) == list(islice(drills(3), 30))
    assert list(islice(drills(3), 5)) != list(islice(drills(4), 5))


def test_drawn_sentences_hold_the_answer_once_and_are_others_each_time() -> None:
    dresser = Generator(0, Split.TRAIN).dresser
    rng = random.Random(0)

    several = [dresser.many(rng) for _ in range(10)]

    assert all(dress.count("{a}") == 1 for dresses in several for dress in dresses)
    assert len({tuple(dresses) for dresses in several}) == 10
    assert len({dress for dresses in several for dress in dresses}) > 4 * len(several[0])


def test_a_split_without_a_reworder_draws_no_sentences() -> None:
    dresser = Dresser(load_lexicon(Split.TEST), load_phrases(Split.TEST), None)

    assert all("{a}" in dress for dress in dresser.few)
    with pytest.raises(ValueError, match="test split has no words"):
        dresser.many(random.Random(0))
