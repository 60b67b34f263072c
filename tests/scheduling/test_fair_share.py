"""Nobody is pushed out: what a client may hold of a full queue, and whose turn it is in line."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Overloaded
from service.scheduling.admission import Admission, QueueLimits
from service.scheduling.batcher import FrameLimits, take_frame
from service.scheduling.fair_share import CONTENDED_FROM, RESERVE, Turns, may_hold
from service.scheduling.jobs import Job, JobId, group_of
from service.scheduling.waiting_line import WaitingLine
from service.types import Priority
from tests.pairs import encoded

LIMIT = 800
AMOUNTS = st.integers(1, LIMIT)


@given(total=st.integers(0, LIMIT), more=AMOUNTS)
def test_a_lone_client_may_fill_the_queue_and_no_more(total, more):
    is_within = total + more <= LIMIT
    is_small = total + more <= LIMIT / 2

    assert may_hold(total, total, more, LIMIT, 1) == (is_within or is_small)


@given(others=st.integers(0, LIMIT), more=AMOUNTS, num_clients=st.integers(2, 50))
def test_a_newcomer_within_its_share_gets_into_a_full_queue(others, more, num_clients):
    fits = more <= LIMIT / num_clients and others + more <= LIMIT * (1 + RESERVE)

    assert may_hold(0, others, more, LIMIT, num_clients) or not fits


@given(held=AMOUNTS, others=AMOUNTS, more=AMOUNTS, num_clients=st.integers(2, 50))
def test_over_its_share_a_client_gets_nothing_of_a_contended_queue(held, others, more, num_clients):
    if held + more > LIMIT / num_clients and held + others + more > LIMIT * CONTENDED_FROM:
        assert not may_hold(held, held + others, more, LIMIT, num_clients)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(1, 30), st.integers(1, 300)), max_size=200
    )
)
def test_whatever_comes_and_goes_the_books_balance_and_the_limit_holds(steps):
    limits = QueueLimits(max_tokens=1000, max_pairs=100)
    admission = Admission(limits)
    held: list[tuple[str, int, int]] = []
    for client, is_release, pairs, tokens in steps:
        if is_release and held:
            owner, num_pairs, num_tokens = held.pop(0)
            admission.release(num_pairs, num_tokens, owner)
        else:
            was_empty = admission.num_pairs == 0
            fits = admission.fits(pairs, tokens, client)
            try:
                admission.admit(pairs, tokens, client)
            except Overloaded:
                assert not fits
                continue
            assert fits
            held.append((client, pairs, tokens))
            assert was_empty or admission.num_tokens <= limits.max_tokens * (1 + RESERVE)
            assert was_empty or admission.num_pairs <= limits.max_pairs * (1 + RESERVE)
        assert admission.num_pairs == sum(pairs for _, pairs, _ in held)
        assert admission.num_tokens == sum(tokens for _, _, tokens in held)
    for owner, num_pairs, num_tokens in held:
        admission.release(num_pairs, num_tokens, owner)

    assert admission == Admission(limits)


def test_a_bulk_job_that_filled_the_queue_is_brought_down_to_its_share_while_another_comes():
    admission = Admission(QueueLimits(max_tokens=10**9, max_pairs=100))
    held = Counter()
    while admission.fits(1, 1, "bulk"):
        admission.admit(1, 1, "bulk")
        held["bulk"] += 1
    assert held["bulk"] == 100
    rng = random.Random(0)
    for _ in range(2000):  # one pair is answered, then whoever asks first and fits gets in
        leaver = rng.choices(list(held), list(held.values()))[0]
        admission.release(1, 1, leaver)
        held[leaver] -= 1
        for client in rng.sample(["bulk", "other"], 2):
            if admission.fits(1, 1, client):
                admission.admit(1, 1, client)
                held[client] += 1

    assert held["bulk"] <= 50
    assert held["other"] >= 50


def job(number, client, length, prompt=None):
    pair = encoded([number if prompt is None else prompt] * 4, [number] * (length - 4))
    return Job(JobId(number), pair, Priority.BULK, float(number), 1e9, group_of(pair), client=client)


@pytest.mark.parametrize("seed", range(5))
def test_clients_with_work_are_served_within_a_frame_and_a_job_of_each_other(seed):
    rng = random.Random(seed)
    line, limits = WaitingLine(), FrameLimits(400)
    for number in range(600):
        client = "huge" if number < 400 else rng.choice(["small", "middle"])
        line.enqueue(job(number, client, rng.randint(5, 60)))
    served = Counter()
    while all(
        any(waiting.job_id for waiting in jobs.values()) for jobs in line._classes[Priority.BULK].clients.values()
    ):
        for taken in take_frame(line, limits, 0.0).jobs:
            served[taken.job.client] += taken.job.num_tokens
        if len(line._classes[Priority.BULK].clients) < 3:
            break
        assert max(served.values()) - min(served.values()) <= 400 + 60


def test_a_single_pair_does_not_wait_behind_another_clients_twenty_thousand():
    line = WaitingLine()
    for number in range(20_000):
        line.enqueue(job(number, "huge", 40, prompt=7))
    take_frame(line, FrameLimits(400), 0.0)
    line.enqueue(job(30_000, "small", 40))
    taken = take_frame(line, FrameLimits(400), 0.0)

    assert JobId(30_000) in {packed.job.job_id for packed in taken.jobs}


def test_absence_earns_no_credit():
    turns = Turns()
    turns.enter("steady")
    turns.charge("steady", 1000)
    turns.enter("new")

    assert turns.served_tokens == {"steady": 1000, "new": 1000}


def test_one_clients_order_is_first_come_first_served_with_groups_together():
    line = WaitingLine()
    for number, prompt in enumerate([1, 2, 1, 3, 2]):
        line.enqueue(job(number, "one", 10, prompt=prompt))

    assert [waiting.job_id for waiting in line.in_order(Priority.BULK)] == [0, 2, 1, 4, 3]


def test_dropped_work_is_not_charged():
    line = WaitingLine()
    for number in range(4):
        line.enqueue(job(number, "ab"[number % 2], 10))
    line.drop(JobId(0))
    turns = line._classes[Priority.BULK].turns

    assert turns.served_tokens == {"a": 0, "b": 0}
    line.remove(JobId(1))
    assert turns.served_tokens == {"a": 0, "b": 10}
