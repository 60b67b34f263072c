"""The soak's own parts, and the two faults that end a worker, on a real server."""

import pytest

from benchmarks.soak import faults
from benchmarks.soak.burst import is_sound, livez, texts
from benchmarks.soak.fuzz import Finding, check_reply
from benchmarks.soak.http import AnsweredTwice, Broken, parsed
from benchmarks.soak.mixed import loss_interval
from benchmarks.soak.server import serving


@pytest.mark.long
async def test_a_hung_forward_and_a_dead_engine_thread_are_answered_and_another_worker_scores_the_same():
    async with serving("--max-forward-s", "3", is_faulty=True) as server:
        await faults.worker_is_lost(server, "hang")
        await faults.worker_is_lost(server, "die")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


def test_a_reply_is_read_whole_or_not_at_all():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"

    assert parsed(HEAD + b"{}").json() == parsed(chunked).json() == {}
    for cut in (b"", HEAD + b"{", chunked[:-7]):
        with pytest.raises(Broken):
            parsed(cut)


def test_a_second_reply_on_one_connection_is_noticed():
    with pytest.raises(AnsweredTwice):
        parsed(HEAD + b"{}" + HEAD + b"{}")


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"{}"), (200, b'{"score": NaN}'), (200, b"[-Infinity]"), (422, b"Traceback (most recent call last)")],
)
def test_what_no_reply_may_be_is_found(status, body):
    with pytest.raises(Finding):
        check_reply(status, body, "a case")


def test_an_error_that_speaks_of_nan_is_no_finding():
    check_reply(200, b'{"message": "the model\'s output is NaN; allowed: a number"}', "a case")


def test_texts_are_distinct_and_in_groups_of_eight():
    made = texts(64, seed=1)

    assert len(set(made)) == 64
    assert made == texts(64, seed=1)
    assert [len({prompt for prompt, _ in made[start : start + 8]}) for start in range(0, 64, 8)] == [1] * 8


def test_a_loss_without_spread_has_no_interval():
    assert loss_interval([10.0, 20.0], [11.0, 22.0]) == {"mean": 0.1, "low": 0.1, "high": 0.1}


def test_what_is_asked_while_no_worker_lives_is_left_out_and_what_comes_late_afterwards_is_not():
    """Killed at 10; the next worker's first answer comes at 14, to those who had waited for it."""
    before = [(9.0, 0.5, 0.0, True), (9.5, 0.5, 0.0, False), (9.9, 0.05, 0.0, True)]  # the second was reset at 10
    down = [(10.5, 3.6, 0.0, True), (12.0, 2.0, 0.0, True), (13.0, 0.1, 0.0, False)]
    after = [(14.5, 2.5, 0.0, True), (15.0, 0.1, 0.0, True), (15.1, 0.1, 0.0, False)]

    seen = livez([*before, *down, *after], killed_s=10.0)
    assert (seen["asked"], seen["unanswered"]) == (5, 1)
    assert (seen["max_ms"], seen["down_s"]) == (2500.0, 4.0)


def test_without_a_kill_every_answer_counts():
    seen = livez([(0.0, 0.001, 0.0, True), (0.05, 0.003, 0.04, True), (0.1, 9.0, 0.0, False)], killed_s=None)

    assert (seen["asked"], seen["unanswered"]) == (3, 1)
    assert (seen["p50_ms"], seen["max_ms"], seen["down_s"]) == (2.0, 3.0, 0.0)


@pytest.mark.parametrize("wrong", ["other", "twice", "lost"])
def test_a_burst_is_sound_only_if_every_pair_is_equal_or_given_up(wrong):
    good = {"pairs": 9, "equal": 7, "gave_up": 2, "other": 0, "twice": 0, "lost": 0}

    assert is_sound(good)
    assert not is_sound({**good, "equal": 6})
    assert not is_sound({**good, "equal": 6, wrong: 1})
