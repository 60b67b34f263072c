"""Both clients over real sockets to a server that breaks them."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from reward_client import ServerUnavailable
from tests.client.both import KINDS, call
from tests.client.faulty_http import dripping, serving
from tests.client.scripted_server import ScriptedServer, crc_score

PAIRS = [(f"prompt {index // 3}", f"response {index}") for index in range(12)]
EXPECTED = [crc_score({"prompt": prompt, "response": response}) for prompt, response in PAIRS]
BREAKS = ["lost", "503", "cut", "cut_quietly", "page", "500", "some_pairs_fail", "nan"]

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
@pytest.mark.parametrize("method", ["score", "stream"])
def test_scores_come_back_whole_over_connections_that_break(kind: str, method: str) -> None:
    script = [fault for fault in BREAKS for _ in range(2)]
    with serving(ScriptedServer(script)) as url:
        client = {"max_pairs_per_request": 5, "max_requests_per_call": 2}
        answer = call(kind, method, PAIRS, url=url, client=client)

    results = answer if method == "stream" else answer.results
    assert [result.score for result in sorted(results, key=lambda result: result.index)] == EXPECTED


@both_kinds
def test_a_call_outlives_the_restart_of_the_server(kind: str) -> None:
    port = _free_port()
    replies: list[list[float]] = []
    caller = threading.Thread(
        target=lambda: replies.append(call(kind, "score", PAIRS, url=f"http://127.0.0.1:{port}").scores)
    )

    caller.start()  # nothing listens yet: the first tries are refused
    time.sleep(0.05)
    with serving(ScriptedServer(), port):
        caller.join()

    assert replies == [EXPECTED]


@both_kinds
def test_an_attempt_that_hangs_is_given_up_and_made_again(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = {"attempt_timeout_s": 0.05, "retry_for_s": 0.2}

        with pytest.raises(ServerUnavailable, match=r"no whole reply .* within 0\.05 s") as raised:
            call(kind, "score", PAIRS, url=url, client=client)

    assert raised.value.code == "timeout"


@both_kinds
def test_a_reply_that_drips_without_end_is_given_up(kind: str) -> None:
    client = {"attempt_timeout_s": 0.1, "retry_for_s": 0.1}

    with dripping() as url, pytest.raises(ServerUnavailable) as raised:
        call(kind, "score", PAIRS, url=url, client=client)

    assert raised.value.code == "timeout"


@both_kinds
def test_ten_thousand_pairs_go_over_a_few_connections(kind: str) -> None:
    pairs = [(f"prompt {index // 8}", f"response {index}") for index in range(10_000)]
    server = ScriptedServer(score=lambda pair: float(pair["response"].removeprefix("response ")))
    with serving(server) as url:
        reply = call(kind, "score", pairs, url=url)

    assert reply.scores == [float(index) for index in range(10_000)]
    assert len(server.requests) == 40  # 10,000 / 256, groups of eight whole


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
