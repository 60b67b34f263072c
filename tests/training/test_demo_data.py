import itertools
import random
from pathlib import Path

import pytest

from training.demo_data import bank
from training.demo_data.answers import WEIGHTS, Defect
from training.demo_data.bank import Entry, Fill, load_bank, load_phrases
from training.demo_data.generator import NUM_ANSWERS, generate
from training.demo_data.gibberish import gibberish
from training.demo_data.kinds import HELD_OUT_KINDS, TEST_KINDS, TRAIN_KINDS, kinds_of
from training.demo_data.lexicon import FILLER_SORTS, Split, load_lexicon, tidy
from training.evaluate import evaluate
from training.rankings import Ranking

PAIRS = pytest.mark.parametrize(("one", "other"), list(itertools.combinations(Split, 2)))
SPLITS = pytest.mark.parametrize("split", list(Split), ids=str)


def rankings_of(split: Split) -> list[Ranking]:
    return list(generate(0, split, 300))


def test_the_same_seed_gives_the_same_rankings() -> None:
    assert list(generate(3, Split.TRAIN, 20)) == list(generate(3, Split.TRAIN, 20))


def test_another_seed_gives_other_rankings() -> None:
    assert list(generate(3, Split.TRAIN, 5)) != list(generate(4, Split.TRAIN, 5))


def test_a_ranking_depends_on_its_index_alone() -> None:
    assert list(generate(3, Split.TRAIN, 5)) == list(generate(3, Split.TRAIN, 9))[:5]


def test_a_sound_answer_is_best_and_no_answer_worst() -> None:
    """The order of the grades; those inside a grade are tied on purpose."""
    assert WEIGHTS[Defect.NONE] < min(WEIGHTS[defect] for defect in Defect if defect != Defect.NONE)
    assert WEIGHTS[Defect.UNFINISHED] == WEIGHTS[Defect.INCOMPLETE] == WEIGHTS[Defect.REPETITIVE]
    assert WEIGHTS[Defect.REPETITIVE] < WEIGHTS[Defect.WRONG] < WEIGHTS[Defect.GIBBERISH]
    assert set(WEIGHTS) == set(Defect)


@SPLITS
def test_every_ranking_holds_seven_answers_ordered_by_weight(split: Split) -> None:
    for ranking in rankings_of(split):
        assert len(ranking.answers) == NUM_ANSWERS
        assert ranking.tiers == tuple(WEIGHTS[Defect(defect)] for defect in ranking.defects)
        assert all(answer.strip() for answer in ranking.answers)


@SPLITS
def test_length_alone_predicts_next_to_nothing(split: Split) -> None:
    report = evaluate(lambda ranking: [len(answer) for answer in ranking.answers], rankings_of(split))

    assert report.length_only <= 0.55


@SPLITS
def test_false_answers_are_a_fair_share_of_all_pairs(split: Split) -> None:
    pairs = [
        (ranking.defects[i], ranking.defects[j])
        for ranking in rankings_of(split)
        for i in range(NUM_ANSWERS)
        for j in range(NUM_ANSWERS)
        if ranking.tiers[i] < ranking.tiers[j]
    ]

    assert pairs.count(("none", "wrong")) / len(pairs) > 0.04


@PAIRS
def test_two_splits_share_no_question_kind(one: Split, other: Split) -> None:
    assert not kinds_in(one) & kinds_in(other)


def kinds_in(split: Split) -> set[str]:
    return {ranking.kind for ranking in rankings_of(split)} | set(kinds_of(split))


@PAIRS
def test_two_splits_share_no_question_and_no_sentence(one: Split, other: Split) -> None:
    def texts(split: Split) -> set[str]:
        entries: list[Entry] = load_bank(split)
        in_bank = {text for entry in entries for text in (*entry.questions, *sum(entry.parts, ()))}
        return in_bank | {line for lines in load_phrases(split).values() for line in lines}

    assert not texts(one) & texts(other)


@PAIRS
def test_two_splits_share_no_topic(one: Split, other: Split) -> None:
    def topics(split: Split) -> set[str]:
        words = load_lexicon(split).words
        listed = {word for sort in words if sort not in FILLER_SORTS for word in words[sort]}
        return listed | own_words(split)

    assert not topics(one) & topics(other)


def own_words(split: Split) -> set[str]:
    """The words that free slots of a bank stand for."""
    texts = [text for entry in load_bank(split) for text in entry.questions]
    return {match["own"].lower() for match in bank._SLOT.finditer("\n".join(texts)) if match["own"]}


@PAIRS
def test_two_splits_share_no_invented_word(one: Split, other: Split) -> None:
    rng = random.Random(0)
    lexicons = [load_lexicon(split) for split in (one, other)]

    ours, theirs = ({lexicon.invent(rng) for _ in range(500)} for lexicon in lexicons)

    assert not ours & theirs


@pytest.mark.parametrize("split", [Split.HELD_OUT, Split.TEST])
def test_topics_kept_back_are_no_filler_words_of_training(split: Split) -> None:
    kept_back = load_lexicon(split).words
    topics = {word for sort in kept_back if sort not in FILLER_SORTS for word in kept_back[sort]}
    train = load_lexicon(Split.TRAIN).words

    assert not topics & {word for sort in FILLER_SORTS for word in train[sort]}


ALL_KINDS = {**TRAIN_KINDS, **HELD_OUT_KINDS, **TEST_KINDS}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_wrong_answers_to_checkable_questions_differ_from_the_right_one(kind: str) -> None:
    draw = ALL_KINDS[kind]
    for seed in range(50):
        drawn = draw(random.Random(seed), load_lexicon(Split.TRAIN))
        assert drawn.right not in drawn.wrong
        assert drawn.question


def test_a_slot_stands_for_the_same_word_in_question_and_answers() -> None:
    lexicon = load_lexicon(Split.TRAIN)
    fill = Fill.draw(random.Random(0), lexicon, ["Why a {tool} and a {tool2}?", "[Rust] is [rust]."], 0.0)

    assert fill.apply("{tool} {tool}").lower() == " ".join([fill.values["tool"]] * 2)
    assert fill.values["tool"] != fill.values["tool2"]
    assert len(fill.values) == 3


def test_tidy_repairs_articles_and_capitals() -> None:
    assert tidy("a apple and a pear. it is.") == "An apple and a pear. It is."


@SPLITS
def test_gibberish_has_about_the_wished_length(split: Split) -> None:
    lexicon = load_lexicon(split)
    good = "Fill the kettle with water, bring it to the boil, and rinse it three times."
    for seed in range(60):
        num_words = len(gibberish(random.Random(seed), lexicon, good, 12).split())
        # Moving word borders changes the number of words, not that of letters.
        assert 6 <= num_words <= 24


def test_the_word_files_hold_no_tabs_and_no_empty_words() -> None:
    for path in Path(bank.__file__).parent.glob("*.txt"):
        assert "\t" not in path.read_text(encoding="utf-8")
    assert all(word for words in load_lexicon(Split.TRAIN).words.values() for word in words)
