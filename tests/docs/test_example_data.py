"""What the larger examples generate: held out is held out, known quality is known, searching finds."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from examples.grpo.text import BEHAVIOURS, KINDS, TOPICS, all_questions, answer, behaviour_of, texts
from examples.rerank.questions import WordSearch, questions
from tests.docs.running import ROOT


def test_no_held_out_kind_and_topic_is_trained_on() -> None:
    training, held_out = all_questions(0)

    pairs = {(question.kind, question.topic) for question in held_out}
    assert len(pairs) == len(held_out) == len(KINDS) * len(TOPICS) // 4
    assert pairs.isdisjoint((question.kind, question.topic) for question in training)
    assert len(training) == 2 * (len(KINDS) * len(TOPICS) - len(held_out))
    assert all_questions(0) == (training, held_out)
    assert all_questions(1)[1] != held_out


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_behaviour_is_recognised_in_what_it_wrote(behaviour: str) -> None:
    rng = random.Random(0)
    asked = random.Random(1).sample(all_questions(0)[0], 60)

    assert {behaviour_of(answer(rng, question, behaviour), question) for question in asked} == {behaviour}


@pytest.mark.parametrize("text", ["", "The the lamp.", "What a stupid question. Keep the lamp in a dry room"])
def test_what_is_none_of_the_behaviours_is_other(text: str) -> None:
    assert behaviour_of(text, all_questions(0)[0][0]) == "other"


def test_the_policys_texts_are_of_all_behaviours_equally_often() -> None:
    training, _ = all_questions(0)
    found = [behaviour_of(text, question) for question, text in texts(0, training, 7 * 30)]

    assert [found.count(behaviour) for behaviour in BEHAVIOURS] == [30] * 7


def test_reranked_questions_have_two_sound_answers_in_no_telling_place() -> None:
    asked = questions(0, 60)

    assert len({question.text for question in asked}) == 60
    places = [place for question in asked for place, given in enumerate(question.answers) if given.weight == 0]
    assert len(places) >= 2 * len(asked)
    assert set(places) == set(range(7))
    first = asked[3].answers[places[0]]
    assert not first.is_good_for(4)


def test_the_first_stage_prefers_rare_words_and_short_texts() -> None:
    search = WordSearch(["the cat and the dog", "the zebra", "the zebra " + "and the dog " * 9, "the dog"])

    assert search.best("Where is the zebra?", 2) == [1, 2]
    assert search.best("nothing of this", 4) == [0, 1, 2, 3]


def test_the_reranking_example_needs_no_torch() -> None:
    code = "import sys, examples.rerank.questions, examples.demo_server; print({'torch', 'numpy'} & set(sys.modules))"
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'reward_client/src')!r}]; "
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
