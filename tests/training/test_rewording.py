import random

from service.types import Message
from training.demo_data.lexicon import Split, load_lexicon
from training.demo_data.rewording import Reworder
from training.rankings import Ranking

RANKING = Ranking(
    messages=(Message("user", "How do I clean a Kettle? The kettle is dirty."),),
    answers=("Fill the kettle with vinegar.", "Nobody cares about your kettle.", "Vinegar, KETTLE, vinegar."),
    tiers=(0, 1, 1),
    kind="howto",
    defects=("none", "rude", "repetitive"),
)


def reworder() -> Reworder:
    return Reworder.over(load_lexicon(Split.TRAIN), ["marble window painting"], ["Nobody cares about {x}."])


def reworded() -> list[Ranking]:
    return [reworder().reword(random.Random(seed), RANKING) for seed in range(60)]


def words(text: str) -> list[str]:
    return [word.strip(".,?").lower() for word in text.split()]


def test_a_word_becomes_the_same_other_word_everywhere_in_its_ranking() -> None:
    for ranking in reworded():
        topic = words(ranking.messages[0].content)[5]
        assert words(ranking.messages[0].content)[7] == topic
        assert words(ranking.answers[0])[2] == topic
        assert words(ranking.answers[1])[-1] == topic
        assert words(ranking.answers[2])[1] == topic


def test_most_rankings_get_other_words_and_some_keep_theirs() -> None:
    topics = [words(ranking.messages[0].content)[5] for ranking in reworded()]

    assert "kettle" in topics
    assert len(set(topics)) > 15


def test_capitals_stay_where_they_were() -> None:
    for ranking in reworded():
        assert ranking.messages[0].content.split()[5][0].isupper()
        assert ranking.answers[2].split()[1].isupper()


def test_words_that_carry_rudeness_and_short_words_stay() -> None:
    for ranking in reworded():
        assert ranking.answers[1].startswith("Nobody cares about your ")
        assert ranking.messages[0].content.startswith("How do I ")


def test_order_kind_and_defects_stay() -> None:
    for ranking in reworded():
        assert (ranking.tiers, ranking.kind, ranking.defects) == (RANKING.tiers, RANKING.kind, RANKING.defects)
