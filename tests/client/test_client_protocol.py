"""The sans-I/O protocol against a scripted server and a clock that is a number."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_client import errors
from reward_client._exchange import Lost, Reply
from reward_client._settings import CallOptions
from reward_client.values import Pair, Result
from tests.client.scripted_server import LOST, PASSING_FAULTS, Answer, ScriptedServer, crc_score
from tests.client.simulation import Simulation, make_job, make_plain

PAIRS = [(f"prompt {index // 3}", f"response {index}") for index in range(10)]
RETURN = CallOptions(on_error="return")


class DownAtFirst(ScriptedServer):
    """Refuses connections until a moment of the simulation."""

    def __init__(self, simulation: Simulation, up_at: float) -> None:
        super().__init__()
        self._simulation = simulation
        self._up_at = up_at

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._simulation.now < self._up_at:
            return Answer(LOST)
        return super().answer(method, path, headers, body)


class RestartedWhenCut(ScriptedServer):
    """Comes back with other weights after the first broken connection."""

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        answer = super().answer(method, path, headers, body)
        if answer.is_cut:
            self.fingerprint = "sha256:second"
        return answer


def world(*script: str, afterwards: str = "ok", seed: int = 0) -> Simulation:
    return Simulation(ScriptedServer(script, afterwards), random.Random(seed))


def expected(pairs: list[tuple[str, str]]) -> dict[int, float]:
    return {
        index: crc_score({"prompt": prompt, "response": response}) for index, (prompt, response) in enumerate(pairs)
    }


def scores(results: list[Result]) -> dict[int, float | None]:
    assert len({result.index for result in results}) == len(results), "a pair was answered twice"
    return {result.index: result.score for result in results}


@pytest.mark.parametrize("is_streaming", [False, True], ids=["whole", "streaming"])
@settings(max_examples=80, deadline=None)  # generated worlds differ in length; time is simulated
@given(
    script=st.lists(st.sampled_from(PASSING_FAULTS), max_size=12),
    num_pairs=st.integers(0, 14),
    on_error=st.sampled_from(["raise", "return"]),
    afterwards=st.sampled_from(["ok", "ok", "lost", "some_pairs_fail", "cut", "cut_quietly", "nan"]),
    seed=st.integers(0, 2**32),
)
def test_whatever_fails_each_pair_gets_exactly_its_own_score_or_an_error(
    is_streaming: bool, script: list[str], num_pairs: int, on_error: str, afterwards: str, seed: int
) -> None:
    pairs = [(f"prompt {index // 3}", f"response {index}") for index in range(num_pairs)]
    job = make_job(is_streaming=is_streaming, seed=seed, options=CallOptions(on_error=on_error))
    simulation = world(*script, afterwards=afterwards, seed=seed)

    try:
        results = simulation.run(job, pairs)
    except (errors.ServerUnavailable, errors.DeadlineExceeded):
        assert on_error == "raise"
        return

    assert sorted(scores(results)) == list(range(num_pairs))
    for result in results:
        assert (result.score is None) != (result.error is None)
        assert result.score in (None, expected(pairs)[result.index])
    if afterwards == "ok":
        assert scores(results) == expected(pairs)


@pytest.mark.parametrize("is_streaming", [False, True], ids=["whole", "streaming"])
@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_a_passing_fault_is_tried_again_and_never_becomes_a_number(fault: str, is_streaming: bool) -> None:
    simulation = world("ok", fault)

    assert scores(simulation.run(make_job(is_streaming=is_streaming), PAIRS)) == expected(PAIRS)


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_a_faulty_reply_is_not_taken_even_where_its_numbers_happen_to_be_right(fault: str) -> None:
    simulation = world(fault)

    assert scores(simulation.run(make_job(max_pairs=10), PAIRS)) == expected(PAIRS)
    assert len(simulation.sent) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("302", errors.RequestRefused),
        ("400", errors.RequestRefused),
        ("401", errors.Unauthorized),
        ("413", errors.TooLarge),
        ("422", errors.RequestRefused),
    ],
)
@pytest.mark.parametrize("options", [CallOptions(), RETURN], ids=["raise", "return"])
def test_a_refusal_is_raised_and_never_sent_again(
    status: str, error: type[errors.RewardServerError], options: CallOptions
) -> None:
    simulation = world(status)
    job = make_job(max_requests=1, options=options)

    with pytest.raises(error) as raised:
        simulation.run(job, PAIRS)

    assert len(simulation.sent) == 1
    assert (raised.value.status, raised.value.code) == (int(status), f"status_{status}")
    assert not raised.value.retryable


def test_only_pairs_whose_error_is_retryable_are_sent_again() -> None:
    simulation = world("some_pairs_fail")
    job = make_job(max_pairs=10)

    simulation.run(job, PAIRS)

    sent = [[pair["response"] for pair in request["body"]["pairs"]] for request in simulation.server.requests]
    assert sent == [[response for _, response in PAIRS], [response for _, response in PAIRS[::2]]]


def test_a_permanent_pair_error_is_a_result_and_is_not_sent_again() -> None:
    simulation = world()

    [good, bad] = simulation.run(make_job(), [("prompt", "response"), ("", "response")])

    assert good.score is not None
    assert (bad.score, bad.error and bad.error.code) == (None, "empty_prompt")
    assert len(simulation.sent) == 1


def test_a_broken_stream_resends_only_what_has_not_come() -> None:
    simulation = world("ok", "cut")  # the first request asks for the fingerprint
    job = make_job(is_streaming=True, max_pairs=10)

    results = simulation.run(job, PAIRS)

    _, first, second = [len(request["body"]["pairs"]) for request in simulation.server.requests]
    assert scores(results) == expected(PAIRS)
    assert first == 10
    assert 0 < second < 10


def test_a_stream_whose_last_line_alone_is_lost_is_complete() -> None:
    simulation = world("ok", "last_line_lost")

    results = simulation.run(make_job(is_streaming=True, max_pairs=10), PAIRS)

    assert scores(results) == expected(PAIRS)
    assert len(simulation.sent) == 2  # the opening and the stream


def test_an_outage_longer_than_retry_for_s_raises_with_the_last_failure() -> None:
    simulation = world(afterwards="503")

    with pytest.raises(errors.ServerUnavailable, match="HTTP 503") as raised:
        simulation.run(make_job(retry_for_s=150.0), PAIRS)

    assert raised.value.retryable
    assert raised.value.status == 503
    assert 140.0 < simulation.now - 1000.0 < 160.0  # the last wait of up to 5 s may end just too late


def test_a_restart_of_two_minutes_is_outlived_by_the_defaults() -> None:
    simulation = world()
    simulation.server = DownAtFirst(simulation, up_at=1120.0)

    assert scores(simulation.run(make_job(), PAIRS)) == expected(PAIRS)
    assert 1120.0 <= simulation.now < 1135.0


def test_during_an_outage_only_a_handful_of_requests_try() -> None:
    simulation = world(afterwards="lost")
    pairs = [(f"prompt {index}", "response") for index in range(4000)]

    with pytest.raises(errors.ServerUnavailable):
        simulation.run(make_job(max_requests=3), pairs)

    tried = {outgoing.body for _, outgoing in simulation.sent}
    assert simulation.max_under_way <= 3
    assert len(simulation.sent) < 150
    assert len({json.loads(body)["pairs"][0]["prompt"] for body in tried}) == 3


def test_a_server_that_is_gone_fails_all_pairs_after_one_outage_not_one_outage_each() -> None:
    simulation = world(afterwards="lost")
    pairs = [(f"prompt {index}", "response") for index in range(400)]

    results = simulation.run(make_job(options=RETURN, timeout_s=math.inf), pairs)

    assert {result.error.code for result in results if result.error is not None} == {"unreachable"}
    assert len(results) == 400
    assert simulation.now < 1160.0


def test_a_request_is_not_given_up_while_it_makes_progress() -> None:
    simulation = world(*["some_pairs_fail"] * 6)
    pairs = [("prompt", f"response {index}") for index in range(64)]

    results = simulation.run(make_job(max_pairs=64, retry_for_s=1.0), pairs)

    assert scores(results) == expected(pairs)


def test_retry_after_holds_back_every_request_of_the_call() -> None:
    simulation = world("503_retry_after")

    simulation.run(make_job(max_pairs=1, max_requests=2), PAIRS)

    waits_s = [at - 1000.0 for at, _ in simulation.sent]
    assert len(waits_s) == 11
    assert not [wait_s for wait_s in waits_s if 2.0 < wait_s < 7.0]  # a reply takes at most two simulated seconds
    assert max(waits_s) >= 7.0


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    simulation = world("503_retry_after")

    with pytest.raises(errors.DeadlineExceeded, match="HTTP 503"):
        simulation.run(make_job(timeout_s=5.0, max_requests=1), PAIRS)

    assert len(simulation.sent) == 1
    assert simulation.now < 1005.0


def test_no_call_goes_on_after_its_deadline() -> None:
    simulation = world(afterwards="some_pairs_fail")
    simulation.server.score = lambda pair: 1.0

    with pytest.raises(errors.DeadlineExceeded, match="had their results"):
        simulation.run(make_job(timeout_s=0.1, retry_for_s=math.inf), PAIRS)

    assert simulation.now <= 1000.1


def test_at_the_deadline_what_has_come_is_returned_if_errors_are() -> None:
    simulation = world("ok", afterwards="lost")
    options = CallOptions(on_error="return", deadline_s=20.0)

    results = simulation.run(make_job(max_requests=1, options=options), PAIRS)

    came = [result for result in results if result.score is not None]
    assert len(results) == 10
    assert 0 < len(came) < 10
    assert {r.error.code for r in results if r.error is not None} <= {"unreachable", "deadline"}
    assert all(result.error.retryable for result in results if result.error is not None)
    assert simulation.now <= 1020.0


def test_every_attempt_tells_the_server_the_time_that_is_left() -> None:
    simulation = world("503_retry_after")

    simulation.run(make_job(timeout_s=60.0, max_pairs=10), PAIRS)

    [(first_at, first), (second_at, second)] = simulation.sent
    for at, outgoing in ((first_at, first), (second_at, second)):
        told_s = json.loads(outgoing.body)["deadline_ms"] / 1000
        assert told_s < outgoing.timeout_s
        assert at + outgoing.timeout_s <= 1060.0 + 1e-9  # rounding of one addition


def test_new_weights_within_a_call_raise() -> None:
    simulation = world("ok", "other_weights")

    with pytest.raises(errors.FingerprintChanged):
        simulation.run(make_job(max_requests=1), PAIRS)


def test_new_weights_within_a_call_are_accepted_if_allowed() -> None:
    simulation = world("ok", "other_weights")
    job = make_job(max_requests=1, options=CallOptions(allow_fingerprint_change=True))

    results = simulation.run(job, PAIRS)

    assert scores(results) == expected(PAIRS)
    assert job.identity.fingerprints == ("sha256:first", "sha256:second")


def test_after_the_first_reply_every_request_demands_its_fingerprint() -> None:
    simulation = world()

    simulation.run(make_job(max_requests=1), PAIRS)

    pins = [request["body"].get("fingerprint") for request in simulation.server.requests]
    assert pins == [None] + ["sha256:first"] * (len(pins) - 1)


def test_a_stream_pins_the_fingerprint_before_it_sends_a_pair() -> None:
    simulation = world()

    simulation.run(make_job(is_streaming=True), PAIRS)

    opening, *others = [request["body"] for request in simulation.server.requests]
    assert opening["pairs"] == []
    assert {other["fingerprint"] for other in others} == {"sha256:first"}


def test_a_server_restarted_with_other_weights_cannot_finish_a_stream() -> None:
    simulation = world()
    simulation.server = RestartedWhenCut(["ok", "cut"])

    with pytest.raises(errors.FingerprintChanged):
        simulation.run(make_job(is_streaming=True, max_pairs=10), PAIRS)


def test_a_demanded_fingerprint_is_sent_and_a_412_raises() -> None:
    simulation = world()
    job = make_job(options=CallOptions(fingerprint="sha256:wanted", on_error="return"))

    with pytest.raises(errors.FingerprintMismatch) as raised:
        simulation.run(job, PAIRS)

    assert raised.value.status == 412
    assert simulation.server.requests[0]["body"]["fingerprint"] == "sha256:wanted"


def test_a_demanded_fingerprint_is_checked_even_if_the_server_does_not() -> None:
    simulation = world(afterwards="ignore_pin")
    job = make_job(options=CallOptions(fingerprint="sha256:wanted"))

    with pytest.raises(errors.FingerprintMismatch):
        simulation.run(job, PAIRS)


def test_pairs_that_share_a_prompt_are_sent_together_although_given_apart() -> None:
    simulation = world()
    pairs = [(f"prompt {index % 5}", f"response {index}") for index in range(20)]

    results = simulation.run(make_job(max_pairs=4), pairs)

    sent = [{pair["prompt"] for pair in request["body"]["pairs"]} for request in simulation.server.requests]
    assert [len(prompts) for prompts in sent] == [1] * 5
    assert scores(results) == expected(pairs)


def test_ten_thousand_pairs_come_back_whole() -> None:
    simulation = world("503", "cut", "some_pairs_fail")
    pairs = [(f"prompt {index // 8}", f"response {index}") for index in range(10_000)]

    results = simulation.run(make_job(max_pairs=256, max_bytes=1_000_000, max_requests=8), pairs)

    assert scores(results) == expected(pairs)
    assert simulation.max_under_way <= 8


def test_an_endless_input_is_read_no_further_than_it_is_answered() -> None:
    simulation = world()
    num_read = most_ahead = 0

    def source() -> Iterator[tuple[str, str]]:
        nonlocal num_read, most_ahead
        while num_read < 2000:
            num_read += 1
            most_ahead = max(most_ahead, num_read - len(simulation.results))
            yield f"prompt {num_read}", "response"

    job = make_job(is_streaming=True, max_pairs=4, max_requests=3, timeout_s=math.inf)

    assert len(simulation.run(job, source())) == 2000
    assert most_ahead <= 3 * 4 + 2 * 4 + 1  # requests under way, the window, and the pair in hand


def test_late_news_of_an_attempt_that_is_over_changes_nothing() -> None:
    job = make_job(max_pairs=1)
    job.add(0, Pair("p", "r"))
    job.close_input()
    [send] = job.take_sends(1000.0)
    job.feed(Lost(send.attempt, "gone"), 1001.0)
    late = ScriptedServer().reply([{"index": 0, "id": None, "score": 9.0}], False)

    job.feed(Reply(send.attempt, 200, {}, late.body), 1002.0)

    assert job.take_results() == []
    assert not job.is_done


def test_an_empty_input_sends_nothing() -> None:
    simulation = world()

    assert simulation.run(make_job(), []) == []
    assert simulation.sent == []


def test_a_plain_call_is_tried_again_until_it_is_answered() -> None:
    simulation = world("503", "503")

    [body] = simulation.run(make_plain("/readyz"))  # type: ignore[arg-type]  # a result of bytes

    assert json.loads(body) == {}  # type: ignore[arg-type]
    assert len(simulation.sent) == 3


def test_a_plain_call_ends_at_its_deadline_with_the_servers_reason() -> None:
    simulation = world(afterwards="503")

    with pytest.raises(errors.DeadlineExceeded, match="still loading"):
        simulation.run(make_plain("/readyz", retry_for_s=math.inf, deadline_s=30.0))  # type: ignore[arg-type]

    assert simulation.now <= 1030.0
