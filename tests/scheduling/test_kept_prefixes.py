"""Frames that rely on one another, run in order on the fake engine, which walks chains as attention would."""

import random

import pytest

from service.engine.fake import FakeEngine, fake_score
from service.scheduling.batcher import FrameLimits, take_frame
from service.scheduling.packing import halves
from service.scheduling.prefix_directory import PrefixDirectory
from service.scheduling.waiting_line import WaitingLine
from service.types import Priority, Probe
from tests.pairs import encoded, job, random_group


class Counter:
    """A line, a directory and an engine, run to the end one frame after another."""

    def __init__(self, budget, capacity):
        self.line, self.limits, self.directory = WaitingLine(), FrameLimits(budget), PrefixDirectory(capacity)
        self.engine = FakeEngine()
        self.taken = {}

    def run(self, *jobs):
        """Scores of the jobs by job id."""
        for each in jobs:
            self.line.enqueue(each)
        rewards = {}
        while (packed := take_frame(self.line, self.limits, 0.0, self.directory)) is not None:
            assert packed.frame.num_tokens <= self.limits.max_tokens
            for taken, reward in zip(packed.jobs, self.engine.run(packed.frame), strict=True):
                rewards[taken.job.job_id] = reward
                self.taken[taken.job.job_id] = taken
            for node in packed.used:
                self.directory.unpin(node)
        assert not len(self.line)
        return rewards


def expected(each):
    pair = each.pair
    return fake_score((*pair.ids, pair.probe.token_id) if pair.probe else pair.ids)


def test_a_prompt_is_computed_once_though_its_responses_arrive_one_by_one():
    counter = Counter(budget=100, capacity=1000)
    group = [job(n, encoded([1, 2, 3, 4], [10 + n])) for n in range(8)]
    for each in group:
        assert counter.run(each)[each.job_id].score == expected(each)

    assert [counter.taken[n].computed_tokens for n in range(8)] == [5, 1, 1, 1, 1, 1, 1, 1]
    assert [counter.taken[n].reused_tokens for n in range(8)] == [0, 4, 4, 4, 4, 4, 4, 4]
    assert counter.engine.frames[1].num_tokens == 1


def test_responses_are_not_kept():
    counter = Counter(budget=100, capacity=1000)
    counter.run(job(0, encoded([1, 2], [3, 4])))

    assert counter.directory.num_tokens == 2


def test_a_pair_longer_than_a_frame_comes_in_parts():
    counter = Counter(budget=16, capacity=60)
    long = job(0, encoded(list(range(30)), list(range(25)), grid=8))

    assert counter.run(long)[0].score == expected(long)
    assert len(counter.engine.frames) >= 4
    assert counter.taken[0].computed_tokens == 55
    assert counter.directory.reserve(None, (1,) * 60) is not None, "something stayed in use"


def test_a_long_pair_is_explained_though_its_response_spans_frames():
    counter = Counter(budget=16, capacity=60)
    pair = encoded(list(range(10)), list(range(30)), grid=8)
    reward = counter.run(job(0, pair, explain=True))[0]

    assert reward.token_values == tuple(fake_score(pair.ids[: stop + 1]) for stop in range(10, 40))
    assert reward.score == fake_score(pair.ids)


def test_a_kept_chunk_that_is_read_is_recomputed_once_and_then_read_from_what_is_kept():
    counter = Counter(budget=100, capacity=1000)
    pair = encoded([1, 2, 3, 4], [5])
    gated = type(pair)(pair.ids, pair.cuts, (4, 3), None, 4, 1)
    assert counter.run(job(0, pair))[0].score == fake_score(pair.ids)

    for number in (1, 2):
        reward = counter.run(job(number, gated))[number]
        assert (reward.score, reward.token_values) == (fake_score(pair.ids), (fake_score([1, 2, 3, 4]),))
    assert [counter.taken[n].computed_tokens for n in range(3)] == [5, 5, 1]


def test_room_at_the_end_of_a_frame_goes_to_the_leading_chunks_of_the_next_pair():
    counter = Counter(budget=32, capacity=1000)
    jobs = [job(n, encoded([n] * 12, [n] * 8)) for n in range(3)]
    rewards = counter.run(*jobs)

    assert [frame.num_tokens for frame in counter.engine.frames] == [32, 28]
    assert {n: rewards[n].score for n in range(3)} == {n: expected(jobs[n]) for n in range(3)}


def test_halves_rely_on_what_is_kept_and_keep_nothing():
    directory, line = PrefixDirectory(100), WaitingLine()
    for n in range(4):
        line.enqueue(job(n, encoded([1, 2, 3], [n])))
    packed = take_frame(line, FrameLimits(50), 0.0, directory)
    first, second = halves(packed, 50, directory)

    assert [len(first.jobs), len(second.jobs)] == [2, 2]
    assert first.frame.stores == second.frame.stores == ()
    assert first.frame.num_tokens == 2


def test_there_is_no_half_without_jobs_when_what_they_relied_on_is_gone():
    counter = Counter(budget=8, capacity=100)
    counter.run(job(0, encoded([1] * 6, [2])))
    for n in (1, 2):
        counter.line.enqueue(job(n, encoded([1] * 6, [2 + n] * 3)))
    packed = take_frame(counter.line, counter.limits, 0.0, counter.directory)
    assert len(packed.jobs) == 2
    for node in packed.used:
        counter.directory.unpin(node)
    counter.directory.forget([slot for prefix in packed.frame.prefixes for slot in prefix])

    assert halves(packed, 8, counter.directory) == ()


@pytest.mark.parametrize("seed", range(30))
def test_whatever_arrives_in_whatever_order_each_pair_is_read_once_and_as_itself(seed):
    rng = random.Random(seed)
    budget = rng.choice([17, 24, 40, 100])
    counter = Counter(budget, capacity=rng.choice([130, 200, 1000]))
    jobs, number = [], 0
    for _ in range(12):
        probe = Probe(999, 500) if rng.random() < 0.2 else None
        for pair in random_group(rng, rng.randint(1, 5), vocab_size=3):
            made = type(pair)(
                pair.ids, pair.cuts, (len(pair.ids),) if probe else pair.reads, probe, pair.prompt_tokens, 1
            )
            jobs.append(job(number, made, priority=rng.choice(list(Priority)), explain=rng.random() < 0.2))
            number += 1
    rng.shuffle(jobs)
    rewards = {}
    while jobs:
        arriving, jobs = jobs[: (count := rng.randint(1, 9))], jobs[count:]
        got = counter.run(*arriving)
        for each in arriving:
            assert got[each.job_id].score == expected(each)
            if each.explain:
                ids, start = each.pair.ids, each.pair.prompt_tokens
                assert got[each.job_id].token_values == tuple(
                    fake_score(ids[: stop + 1]) for stop in range(start, len(ids))
                )
        assert not rewards.keys() & got.keys()
        rewards |= got
    assert counter.directory.reserve(None, (7,) * counter.directory.capacity_tokens) is not None
