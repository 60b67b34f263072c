"""Waits, lines, settings, ranking and errors, each on its own."""

from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_client import Client, PairError, PairFailed, Result, ScoreReply, errors
from reward_client._exchange import Failure, Reply
from reward_client._failures import read_failure
from reward_client._ndjson import LineBuffer
from reward_client._ranking import after_failure, ranked
from reward_client._retry import RetryState
from reward_client._settings import CallOptions, RetryPolicy, Settings

FAILED = Result(index=1, id="b", error=PairError("too_long", "9 tokens; allowed: 8"))


def test_waits_double_to_the_longest_and_are_shortened_by_at_most_a_half() -> None:
    state = RetryState(RetryPolicy(retry_for_s=1e9), random.Random(0))

    waits_s = [(state.next_try_at(0.0, None) or 0.0) for _ in range(8)]

    for wait_s, full_s in zip(waits_s, [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0], strict=True):
        assert full_s / 2 <= wait_s <= full_s


def test_waits_of_callers_that_failed_together_differ() -> None:
    states = [RetryState(RetryPolicy(), random.Random(seed)) for seed in range(20)]

    assert len({state.next_try_at(0.0, None) for state in states}) == 20


def test_progress_begins_the_count_and_the_clock_anew() -> None:
    state = RetryState(RetryPolicy(retry_for_s=10.0), random.Random(0))
    assert state.next_try_at(0.0, None) is not None
    assert state.next_try_at(10.0, None) is None

    state.reset()

    again_at = state.next_try_at(20.0, None)
    assert again_at is not None
    assert again_at <= 20.25


def test_retry_after_is_a_least_wait() -> None:
    state = RetryState(RetryPolicy(), random.Random(0))

    assert (state.next_try_at(0.0, 30.0) or 0.0) >= 30.0


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("3", 3.0),
        (" 12 ", 12.0),
        ("-1", None),
        ("nan", None),
        ("1e9", None),
        ("", None),
        ("²", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_only_whole_seconds_of_retry_after_are_obeyed(header: str, wait_s: float | None) -> None:
    failure = read_failure(Reply(1, 503, {"retry-after": header}, b""))

    assert isinstance(failure, Failure)
    assert failure.retry_after_s == wait_s


@given(st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b"")), max_size=6), st.integers(1, 5))
def test_lines_are_cut_at_newlines_only_however_the_bytes_arrive(lines: list[bytes], step: int) -> None:
    data = b"\n".join(lines)
    buffer, found = LineBuffer(), []

    for start in range(0, len(data), step):
        found += buffer.feed(data[start : start + step])
    found += buffer.flush()

    assert found == [line for line in lines if line.strip()]


@pytest.mark.parametrize(
    "change",
    [
        {"url": "localhost:8000"},
        {"url": "http://localhost:8000/?key=secret"},
        {"truncation": "left"},
        {"priority": "high"},
        {"timeout_s": 0.0},
        {"timeout_s": float("nan")},
        {"attempt_timeout_s": float("inf")},
        {"retry_for_s": -1.0},
        {"max_pairs_per_request": 0},
        {"api_key": "two\nlines"},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_with_what_is_allowed(change: dict[str, object]) -> None:
    arguments = {"url": "http://127.0.0.1:8000", **change}

    with pytest.raises(ValueError, match=next(iter(change)) if "url" not in change else "url"):
        Client(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"on_error": "ignore"}, {"deadline_s": 0.0}, {"truncation": "x"}])
def test_call_options_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        CallOptions(**change)  # type: ignore[arg-type]


def test_the_key_does_not_show_in_a_client_or_its_errors() -> None:
    with Client("http://127.0.0.1:8000", api_key="s3cret") as client:
        assert "s3cret" not in repr(client)

    assert "s3cret" not in repr(Settings("http://127.0.0.1:8000", api_key="s3cret"))


def test_the_scores_of_a_reply_with_a_failed_pair_are_not_to_be_had() -> None:
    reply = ScoreReply((Result(0, score=1.5), FAILED))

    assert reply.results[1].score is None
    with pytest.raises(PairFailed, match=r"1 of 2 pair\(s\).*pair 1 \(id 'b'\): too_long: 9 tokens"):
        _ = reply.scores


def test_equal_scores_keep_the_order_of_the_input() -> None:
    reply = ScoreReply(tuple(Result(index, score=score) for index, score in enumerate([0.5, 2.0, 0.5, 2.0])))

    ranking = ranked(reply, ["a", "b", "c", "d"], top_n=3)

    assert [(place.rank, place.index, place.response) for place in ranking.results] == [
        (1, 1, "b"),
        (2, 3, "d"),
        (3, 0, "a"),
    ]
    assert (ranking.best, ranking.margin) == (1, 0.0)


def test_failed_responses_are_listed_and_never_ranked() -> None:
    reply = ScoreReply((Result(0, score=-1.0), FAILED))

    ranking = after_failure(PairFailed((FAILED,), reply), ["a", "b"], None, "raise")

    assert [place.index for place in ranking.results] == [0]
    assert (ranking.best, ranking.margin, ranking.errors) == (0, None, (FAILED,))


def test_without_a_server_a_ranking_degrades_only_if_it_is_told_to() -> None:
    gone = errors.ServerUnavailable("gone")

    with pytest.raises(errors.ServerUnavailable):
        after_failure(gone, ["a", "b"], None, "raise")
    ranking = after_failure(gone, ["a", "b"], 1, "original_order")

    assert ranking.degraded
    assert [(place.index, place.score) for place in ranking.results] == [(0, None)]


@pytest.mark.parametrize(
    "error",
    [errors.Unauthorized("no"), PairFailed((FAILED,), ScoreReply((FAILED,))), errors.FingerprintChanged("new")],
    ids=lambda error: type(error).__name__,
)
def test_what_would_fail_again_never_degrades_a_ranking(error: errors.RewardServerError) -> None:
    with pytest.raises(type(error)):
        after_failure(error, ["a"], None, "original_order")


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidPair("bad"),
        PairFailed((FAILED,), ScoreReply((Result(0, score=1.0), FAILED))),
        errors.TooLarge("big", code="too_large", status=413, param="pairs", request_id="r-1"),
        errors.FingerprintChanged("new", status=412),
        errors.ServerUnavailable("gone", code="overloaded"),
        errors.DeadlineExceeded("late"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_way_between_processes(error: errors.RewardServerError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_errors_can_be_caught_as_what_python_calls_them() -> None:
    assert issubclass(errors.InvalidPair, ValueError)
    assert issubclass(errors.DeadlineExceeded, TimeoutError)
    for refusal in (errors.Unauthorized, errors.UnknownModel, errors.FingerprintMismatch, errors.TooLarge):
        assert issubclass(refusal, errors.RequestRefused)
        assert not refusal.retryable
