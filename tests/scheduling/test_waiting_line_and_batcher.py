import random

import pytest

from service.scheduling.batcher import FrameLimits, take_frame
from service.scheduling.waiting_line import WaitingLine
from service.types import Priority
from tests.pairs import encoded, job, random_group


def line_of(*jobs):
    line = WaitingLine()
    for waiting in jobs:
        line.enqueue(waiting)
    return line


def taken_ids(line, max_tokens=100, now_s=0.0, **limits):
    packed = take_frame(line, FrameLimits(max_tokens, **limits), now_s)
    return [] if packed is None else [taken.job.job_id for taken in packed.jobs]


def stranger(number, **kwargs):
    return job(number, encoded([1000 + number] * 5, [number] * 5), **kwargs)


def test_an_empty_line_gives_no_frame():
    assert take_frame(WaitingLine(), FrameLimits(100), 0.0) is None


def test_first_come_is_first_served():
    assert taken_ids(line_of(stranger(3), stranger(1), stranger(2))) == [3, 1, 2]


def test_members_of_a_group_follow_their_first_one():
    group = [job(n, encoded([7] * 5, [n] * 5)) for n in (0, 2, 4)]
    line = line_of(group[0], stranger(1), group[1], stranger(3), group[2])

    assert taken_ids(line, max_tokens=20) == [0, 2, 4]


def test_what_does_not_fit_waits_for_the_next_frame():
    line = line_of(*(stranger(n) for n in range(5)))

    assert taken_ids(line, max_tokens=25) == [0, 1]
    assert taken_ids(line, max_tokens=25) == [2, 3]
    assert taken_ids(line, max_tokens=25) == [4]
    assert len(line) == line.num_tokens == 0


def test_a_small_job_may_fill_the_room_a_large_one_leaves():
    line = line_of(stranger(0), job(1, encoded([5] * 15, [6] * 5)), stranger(2))

    assert taken_ids(line, max_tokens=25) == [0, 2]
    assert taken_ids(line, max_tokens=25) == [1]


def test_interactive_goes_before_bulk_and_bulk_fills_the_rest():
    bulk = [stranger(n, priority=Priority.BULK) for n in range(3)]
    line = line_of(*bulk, stranger(9))

    assert taken_ids(line, max_tokens=20) == [9, 0]


def test_overdue_bulk_gets_its_share_before_interactive():
    bulk = [stranger(n, priority=Priority.BULK) for n in range(4)]
    people = [stranger(n, arrived_s=9.0) for n in range(10, 14)]
    line = line_of(*bulk, *people)

    assert taken_ids(line, max_tokens=40, now_s=9.0) == [0, 1, 10, 11]


def test_bulk_just_served_is_not_overdue_again_at_once():
    line = line_of(*(stranger(n, priority=Priority.BULK) for n in range(4)), *(stranger(n) for n in range(10, 14)))
    taken_ids(line, max_tokens=20, now_s=9.0)

    assert taken_ids(line, max_tokens=20, now_s=9.1) == [11, 12]


@pytest.mark.parametrize("kind", [Priority.BULK, Priority.INTERACTIVE], ids=str)
def test_neither_class_starves_the_other(kind):
    """A single job of one class is served although the other class keeps every frame full."""
    other = next(priority for priority in Priority if priority is not kind)
    line = line_of(stranger(0, priority=kind))
    for step in range(1, 50):
        for n in range(3):
            line.enqueue(stranger(10 * step + n, priority=other, arrived_s=step * 0.1))
        if 0 in taken_ids(line, max_tokens=20, now_s=step * 0.1):
            return
    pytest.fail("the job was never served")


def test_an_overdue_bulk_job_larger_than_its_share_still_goes():
    line = line_of(job(0, encoded([5] * 30, [6] * 10), priority=Priority.BULK), stranger(1, arrived_s=9.0))

    assert taken_ids(line, max_tokens=40, now_s=9.0)[0] == 0


def test_late_jobs_are_handed_back_and_never_packed():
    line = line_of(stranger(0, deadline_s=5.0), stranger(1, deadline_s=50.0))

    assert [late.job_id for late in line.expire(now_s=6.0)] == [0]
    assert taken_ids(line) == [1]


def test_a_frame_holds_at_most_its_number_of_pairs():
    assert taken_ids(line_of(*(stranger(n) for n in range(5))), max_pairs=2) == [0, 1]


@pytest.mark.parametrize("seed", range(30))
def test_every_job_is_taken_exactly_once_and_no_frame_passes_its_budget(seed):
    rng = random.Random(seed)
    pairs = [pair for _ in range(rng.randint(1, 12)) for pair in random_group(rng, rng.randint(1, 8))]
    line = WaitingLine()
    for number, pair in enumerate(pairs):
        line.enqueue(job(number, pair, rng.choice(list(Priority)), arrived_s=rng.random()))
    budget = max(len(pair.ids) for pair in pairs) + rng.randint(0, 200)
    seen = []
    now_s = 1.0
    while (packed := take_frame(line, FrameLimits(budget), now_s)) is not None:
        assert packed.frame.num_tokens <= budget
        seen += [taken.job.job_id for taken in packed.jobs]
        now_s += rng.random()

    assert sorted(seen) == list(range(len(pairs)))
    assert (len(line), line.num_tokens) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_one_client_alone_is_served_as_it_would_be_among_others(seed):
    """The short way for a single client, beside taking turns with a client that has nothing."""
    rng = random.Random(seed)
    pairs = [pair for _ in range(8) for pair in random_group(rng, rng.randint(1, 4))]
    rng.shuffle(pairs)
    line = line_of(*(job(number, pair) for number, pair in enumerate(pairs)))
    waiting = line._classes[Priority.INTERACTIVE]
    seen = set()
    by_turns = waiting.turns.merged({"": waiting._runs_of("", seen), "idle": iter(())})

    assert list(line.in_order(Priority.INTERACTIVE)) == list(by_turns)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_late_and_what_is_left_is_as_a_look_at_every_job_finds_it(seed):
    rng = random.Random(seed)
    line, waiting, now_s = WaitingLine(), {}, 0.0
    for number in range(200):
        now_s += rng.random()
        new = stranger(number, deadline_s=now_s + rng.choice([0.5, 5.0, 60.0]), priority=rng.choice(list(Priority)))
        line.enqueue(new)
        waiting[number] = new
        if rng.random() < 0.3:
            gone = rng.choice(list(waiting))
            assert rng.choice([line.drop, line.remove])(gone) is waiting.pop(gone)
        if rng.random() < 0.3:
            late = {number for number, each in waiting.items() if each.deadline_s <= now_s}
            assert {each.job_id for each in line.expire(now_s)} == late
            waiting = {number: each for number, each in waiting.items() if number not in late}

        assert len(line) == len(waiting)
        assert line.num_tokens == sum(each.num_tokens for each in waiting.values())
        assert [line.has(priority) for priority in Priority] == [
            any(each.priority is priority for each in waiting.values()) for priority in Priority
        ]
