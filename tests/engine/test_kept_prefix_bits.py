"""One float each: 200 pairs of mixed lengths, cold, warm, evicted and recomputed, in parts, explained, restarted."""

import random

import pytest
import torch

from service.scheduling.batcher import FrameLimits, take_frame
from service.scheduling.prefix_directory import PrefixDirectory
from service.scheduling.waiting_line import WaitingLine
from tests.engine.models import DTYPES, MAX_TOKENS, Served, served, warm
from tests.pairs import encoded, job

NUM_PAIRS = 200


def mixed_pairs(seed: int = 0, num_pairs: int = NUM_PAIRS):
    """Groups of one to eight responses, prompts of 1 to 120 tokens, responses of 1 to 60, cut every 32 tokens."""
    rng = random.Random(seed)
    pairs = []
    while len(pairs) < num_pairs:
        prompt = [rng.randrange(500) for _ in range(rng.randint(1, 120))]
        for _ in range(rng.randint(1, 8)):
            response = [rng.randrange(500) for _ in range(rng.randint(1, 60))]
            pairs.append(encoded(prompt, response, grid=32))
    return pairs[:num_pairs]


class Counter:
    """A line and a directory before an engine; keeps its prefixes from call to call."""

    def __init__(self, model: Served, budget: int = MAX_TOKENS, capacity: int = 0):
        self.engine, self.line = model.engine, WaitingLine()
        self.limits, self.directory = FrameLimits(budget), PrefixDirectory(capacity)
        self.num_computed = 0

    def score(self, pairs, explain=False):
        for number, pair in enumerate(pairs):
            self.line.enqueue(job(number, pair, explain=explain))
        scores = {}
        while (packed := take_frame(self.line, self.limits, 0.0, self.directory)) is not None:
            for taken, reward in zip(packed.jobs, self.engine.run(packed.frame), strict=True):
                scores[taken.job.job_id] = reward.score
                assert not explain or reward.token_values[-1] == reward.score
            self.num_computed += packed.frame.num_tokens
            for node in packed.used:
                self.directory.unpin(node)
        return [scores[number] for number in range(len(pairs))]


def score_some(counter, pairs, expected, rng):
    """Scores a random batch and asserts its bits."""
    chosen = rng.sample(range(len(pairs)), rng.randint(1, 20))
    assert counter.score([pairs[i] for i in chosen]) == [expected[i] for i in chosen]


def alone(model, pairs):
    """Each pair in a frame of its own, nothing kept."""
    return [score for pair in pairs for score in Counter(model).score([pair])]


@pytest.mark.usefixtures("emptied")
@pytest.mark.long
def test_200_pairs_have_one_float_each(model):
    pairs = mixed_pairs()
    expected = alone(model, pairs)
    cold = Counter(model, capacity=10**6)

    assert cold.score(pairs) == expected
    computed_cold = cold.num_computed
    assert cold.score(pairs) == expected, "warm"
    assert cold.num_computed - computed_cold < computed_cold
    assert cold.score(pairs, explain=True) == expected, "explained"


@pytest.mark.usefixtures("emptied")
def test_random_batches_through_a_cache_that_evicts_and_frames_that_split_pairs(model):
    pairs = mixed_pairs(seed=2, num_pairs=60)
    rng = random.Random(3)
    expected = alone(model, pairs)
    counter = Counter(model, budget=96, capacity=400)

    for _ in range(10):
        score_some(counter, pairs, expected, rng)
    assert counter.directory.num_evicted_tokens > 0
    model.engine._kept.drop(counter.directory.take_drops())
    assert sum(map(model.engine._kept.num_tokens, model.engine._kept._kept)) == counter.directory.num_tokens


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_fresh_engine_reads_the_same_from_its_cache(dtype):
    pairs = mixed_pairs(seed=4, num_pairs=20)

    assert Counter(Served(warm("qwen3", dtype)), capacity=10**6).score(pairs) == alone(served("qwen3", dtype), pairs)


@pytest.mark.usefixtures("emptied")
def test_what_is_kept_is_a_copy(model):
    """The frame after it reuses memory; a view would read whatever lies there."""
    pairs = mixed_pairs(seed=5, num_pairs=8)
    counter = Counter(model, capacity=10**6)
    counter.score(pairs)
    kept = {slot: each.keys_values.clone() for slot, each in model.engine._kept._kept.items()}
    counter.score(mixed_pairs(seed=6, num_pairs=8))

    assert kept
    assert all(torch.equal(model.engine._kept._kept[slot].keys_values, before) for slot, before in kept.items())
