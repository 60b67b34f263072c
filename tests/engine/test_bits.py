"""A score is a pure function of weights, ids and numeric mode: asserted with ==, whatever else is in the frame."""

import random

import pytest
import torch

from tests.engine.models import Served, served, warm
from tests.pairs import encoded, random_group


def groups(seed: int, num_groups: int, size: int):
    rng = random.Random(seed)
    return [random_group(rng, size) for _ in range(num_groups)]


def alone(model: Served, pairs):
    return [model.score([pair])[0] for pair in pairs]


def test_grouped_scores_equal_lone_scores(model):
    for group in groups(seed=1, num_groups=4, size=7):
        assert model.score(group) == alone(model, group)


def test_scores_among_strangers_equal_lone_scores(model):
    rng = random.Random(2)
    pairs = [pair for group in groups(seed=2, num_groups=8, size=1) for pair in group]
    expected = alone(model, pairs)
    for _ in range(8):
        order = rng.sample(range(len(pairs)), rng.randint(2, len(pairs)))

        assert model.score([pairs[i] for i in order]) == [expected[i] for i in order]


def test_reverse_order_gives_the_same_scores(model):
    group = groups(seed=3, num_groups=1, size=7)[0]

    assert model.score(group[::-1]) == model.score(group)[::-1]


def test_a_long_companion_changes_nothing(model):
    rng = random.Random(4)
    short = encoded([1, 2, 3], [4, 5, 6])
    long = encoded([rng.randrange(500) for _ in range(700)], [7] * 20, grid=128)

    assert model.score([long, short])[1] == model.score([short])[0]


def test_a_fresh_engine_gives_the_same_scores(dtype):
    pairs = groups(seed=5, num_groups=1, size=4)[0]

    assert Served(warm("qwen3", dtype)).score(pairs) == served("qwen3", dtype).score(pairs)


def test_explaining_a_pair_changes_no_bit_of_its_score(model):
    group = groups(seed=6, num_groups=1, size=3)[0]
    explained = model.score(group, explain=True)

    assert [reward.score for reward in explained] == [reward.score for reward in model.score(group)]
    assert [reward.token_values[-1] for reward in explained] == [reward.score for reward in explained]
    assert [len(reward.token_values) for reward in explained] == [pair.response_tokens for pair in group]


def test_different_texts_get_different_scores():
    """Nothing rounds scores to a coarser grid: 400 fp32 scores, a clash by chance in fewer than 1 run of 50."""
    rng = random.Random(8)
    pairs = [pair for _ in range(100) for pair in random_group(rng, 4, longest=10)]
    model = served("llama")
    scores = [reward.score for start in range(0, 400, 40) for reward in model.score(pairs[start : start + 40])]

    assert len(set(scores)) >= len({pair.ids for pair in pairs}) - 1


@pytest.mark.soak
def test_ten_thousand_texts_coincide_no_more_often_than_chance_allows():
    """Chance: as many normal numbers of the same mean and spread, rounded to fp32, 20 times over."""
    rng = random.Random(10)
    texts = {tuple(rng.randrange(500) for _ in range(rng.randint(4, 20))): None for _ in range(10_000)}
    model = served("llama")
    pairs = [encoded(ids[:2], ids[2:]) for ids in texts]
    rewards = [reward for start in range(0, len(pairs), 40) for reward in model.score(pairs[start : start + 40])]
    scores = torch.tensor([reward.score for reward in rewards], dtype=torch.float64)

    def coincidences(values):
        return len(values) - len(set(values.float().tolist()))

    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(len(scores), generator=generator, dtype=torch.float64) for _ in range(20)]
    by_chance = sum(coincidences(values * scores.std() + scores.mean()) for values in drawn) / len(drawn)
    assert coincidences(scores) <= by_chance + 5 * by_chance**0.5 + 1, (coincidences(scores), by_chance)


def test_moving_a_cut_does_move_bits():
    """The control: these tests can fail. The same ids, cut elsewhere, are other attention calls."""
    rng = random.Random(9)
    texts = [[rng.randrange(500) for _ in range(80)] for _ in range(8)]
    model = served("llama")

    assert model.score([encoded(ids[:33], ids[33:]) for ids in texts]) != model.score(
        [encoded(ids[:50], ids[50:]) for ids in texts]
    )
