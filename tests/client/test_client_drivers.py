"""Both clients over httpx's mock transport: the drivers add I/O and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from reward_client import AsyncClient, Client, DeadlineExceeded, Pair, PairFailed, ServerUnavailable, Unauthorized
from reward_client._sync import THREAD_NAME
from tests.client.both import KINDS, QUICK, call, transport_to
from tests.client.scripted_server import ScriptedServer, crc_score

PAIRS = [(f"prompt {index // 3}", f"response {index}") for index in range(20)]
EXPECTED = [crc_score({"prompt": prompt, "response": response}) for prompt, response in PAIRS]
SMALL: dict[str, Any] = {"max_pairs_per_request": 6, "max_requests_per_call": 3}

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
@pytest.mark.parametrize("fault", ["lost", "503", "cut", "cut_quietly", "missing", "some_pairs_fail"])
@pytest.mark.parametrize("method", ["score", "stream"])
def test_scores_come_back_whole_after_any_passing_fault(kind: str, method: str, fault: str) -> None:
    server = ScriptedServer(["ok", fault, fault])

    answer = call(kind, method, PAIRS, client={"transport": transport_to(server), **SMALL})

    results = answer if method == "stream" else answer.results
    assert [result.score for result in sorted(results, key=lambda result: result.index)] == EXPECTED


@both_kinds
def test_a_reply_has_results_in_input_order_with_usage_and_identity(kind: str) -> None:
    pairs = [Pair("p", "r", id="a"), {"prompt": [{"role": "user", "content": "p"}], "response": "r"}]

    reply = call(kind, "score", pairs, client={"transport": transport_to(ScriptedServer())})

    assert [(result.index, result.id) for result in reply.results] == [(0, "a"), (1, None)]
    assert (reply.model, reply.fingerprint, reply.fingerprints) == ("demo", "sha256:first", ("sha256:first",))
    assert (reply.usage.tokens, reply.results[0].prompt_tokens, reply.results[0].ended) == (6, 2, None)
    assert len(reply.scores) == 2


@both_kinds
def test_options_and_settings_arrive_at_the_server(kind: str) -> None:
    server = ScriptedServer()
    client = {
        "transport": transport_to(server),
        "api_key": "k",
        "model": "m",
        "truncation": "model",
        "run_id": "run-7",
    }

    call(kind, "score", [("p", "r")], client=client, explain=True, priority="bulk", normalize="n")

    [request] = server.requests
    fields = {name: value for name, value in request["body"].items() if name not in ("pairs", "deadline_ms")}
    assert fields == {"model": "m", "truncation": "model", "priority": "bulk", "explain": True, "normalize": "n"}
    assert request["headers"]["authorization"] == "Bearer k"
    assert request["headers"]["x-run-id"] == "run-7"
    assert request["headers"]["x-request-id"]


@both_kinds
def test_a_failed_pair_raises_by_default_and_the_other_scores_are_not_lost(kind: str) -> None:
    pairs = [("", "r"), ("p", "r")]
    client = {"transport": transport_to(ScriptedServer())}

    with pytest.raises(PairFailed, match="pair 0: empty_prompt") as raised:
        call(kind, "score", pairs, client=client)
    returned = call(kind, "score", pairs, client=client, on_error="return")

    assert raised.value.reply == returned
    assert [result.score is None for result in returned.results] == [True, False]


@both_kinds
def test_a_stream_raises_at_a_failed_pair_unless_errors_are_returned(kind: str) -> None:
    client = {"transport": transport_to(ScriptedServer())}

    with pytest.raises(PairFailed):
        call(kind, "stream", [("", "r")], client=client)
    [result] = call(kind, "stream", [("", "r")], client=client, on_error="return")

    assert (result.score, result.error.code) == (None, "empty_prompt")


@both_kinds
def test_without_a_server_the_call_raises_and_a_ranking_may_degrade(kind: str) -> None:
    server = ScriptedServer(afterwards="lost")
    client = {"transport": transport_to(server), "retry_for_s": 0.05}

    with pytest.raises(ServerUnavailable, match="scripted"):
        call(kind, "score", PAIRS, client=client)
    degraded = call(kind, "rank", "p", ["a", "b"], client=client, on_failure="original_order")

    assert degraded.degraded
    assert [place.index for place in degraded.results] == [0, 1]


@both_kinds
def test_without_a_server_errors_are_returned_if_asked_for(kind: str) -> None:
    client = {"transport": transport_to(ScriptedServer(afterwards="lost")), "retry_for_s": 0.05, **SMALL}

    reply = call(kind, "score", PAIRS, client=client, on_error="return")

    assert {(result.score, result.error.code) for result in reply.results} == {(None, "unreachable")}
    assert len(reply.results) == len(PAIRS)


@both_kinds
def test_a_ranking_is_best_first(kind: str) -> None:
    server = ScriptedServer(score=lambda pair: float(len(pair["response"])))

    ranking = call(kind, "rank", "p", ["a", "ccc", "bb"], 2, client={"transport": transport_to(server)})

    assert [(place.rank, place.index, place.score) for place in ranking.results] == [(1, 1, 3.0), (2, 2, 2.0)]
    assert (ranking.best, ranking.margin, ranking.degraded) == (1, 1.0, False)


@both_kinds
def test_a_refused_key_raises_at_once(kind: str) -> None:
    server = ScriptedServer(["401"])

    with pytest.raises(Unauthorized):
        call(kind, "score", [("p", "r")], client={"transport": transport_to(server)})

    assert len(server.requests) == 1


@both_kinds
def test_the_other_routes_answer(kind: str) -> None:
    client = {"transport": transport_to(ScriptedServer(["ok", "503", "503", "ok"])), "model": "demo"}

    [tokenized] = call(kind, "tokenize", [("p", "r")], client=client)
    assert call(kind, "wait_ready", 10.0, client=client) is None
    [model] = call(kind, "models", client=client)

    assert (tokenized.ids, tokenized.cuts, tokenized.rendered) == ((1, 2, 3), (0,), "[x]")
    assert (model.id, model.max_tokens, model.details) == ("demo", 512, {"object": "model"})
    assert call(kind, "info", client=client) == {"device": "cpu"}
    assert call(kind, "verify", client=client) == {"ok": True, "model": "demo"}


@both_kinds
def test_waiting_for_readiness_ends_with_the_servers_reason(kind: str) -> None:
    client = {"transport": transport_to(ScriptedServer(afterwards="503"))}

    with pytest.raises(DeadlineExceeded, match="still loading"):
        call(kind, "wait_ready", 0.05, client=client)


@both_kinds
def test_an_error_in_the_transport_itself_reaches_the_caller(kind: str) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(kind, "score", [("p", "r")], client={"transport": httpx.MockTransport(broken)})


def test_a_client_shared_by_threads_keeps_their_pairs_apart() -> None:
    server = ScriptedServer()
    replies: dict[int, float] = {}
    with Client("http://rewards.test", transport=transport_to(server), max_connections=3, **QUICK) as client:

        def work(number: int) -> None:
            [replies[number]] = client.score([("p", f"r {number}")]).scores

        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert replies == {n: crc_score({"prompt": "p", "response": f"r {n}"}) for n in range(32)}


def test_a_call_that_ended_while_it_waited_for_a_connection_sends_nothing() -> None:
    server = ScriptedServer()
    inner = transport_to(server)
    is_held, is_free = threading.Event(), threading.Event()

    def waiting(request: httpx.Request) -> httpx.Response:
        is_held.set()
        is_free.wait()
        return inner.handle_request(request)

    with Client("http://rewards.test", transport=httpx.MockTransport(waiting), max_connections=1, **QUICK) as client:
        holder = threading.Thread(target=client.score, args=([("p", "holds the connection")],))
        holder.start()
        is_held.wait()
        with pytest.raises(DeadlineExceeded):
            client.score([("p", "late")], deadline_s=0.01)
        is_free.set()
        holder.join()
        for thread in threading.enumerate():
            if thread.name == THREAD_NAME:
                thread.join()

    assert [request["body"]["pairs"][0]["response"] for request in server.requests] == ["holds the connection"]


def test_hundreds_of_calls_at_once_share_the_connections() -> None:
    server = ScriptedServer()
    under_way = most_under_way = 0
    inner = transport_to(server)

    async def counted(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most_under_way
        under_way += 1
        most_under_way = max(most_under_way, under_way)
        await asyncio.sleep(0)
        response = await inner.handle_async_request(request)
        under_way -= 1
        return response

    async def main() -> list[float]:
        transport = httpx.MockTransport(counted)
        async with AsyncClient("http://rewards.test", transport=transport, max_connections=5, **QUICK) as client:
            replies = await asyncio.gather(*(client.score([("p", f"r {n}")]) for n in range(300)))
            return [score for reply in replies for score in reply.scores]

    assert asyncio.run(main()) == [crc_score({"prompt": "p", "response": f"r {n}"}) for n in range(300)]
    assert most_under_way <= 5


def test_pairs_of_an_asynchronous_input_are_scored_while_others_are_being_made() -> None:
    server = ScriptedServer()
    came: list[float | None] = []

    async def main() -> None:
        answered = asyncio.Event()

        async def source() -> AsyncIterator[tuple[str, str]]:
            yield "p", "first"
            await answered.wait()  # the second response is not made before the first is scored
            yield "p", "second"

        async with AsyncClient("http://rewards.test", transport=transport_to(server), **QUICK) as client:
            async for result in client.stream(source()):
                came.append(result.score)
                answered.set()

    asyncio.run(main())

    assert came == [crc_score({"prompt": "p", "response": response}) for response in ("first", "second")]


def test_an_asynchronous_input_is_read_no_further_than_it_is_answered() -> None:
    num_read = num_back = most_ahead = 0

    async def source() -> AsyncIterator[tuple[str, str]]:
        nonlocal num_read, most_ahead
        while num_read < 500:
            num_read += 1
            most_ahead = max(most_ahead, num_read - num_back)
            yield "p", f"r {num_read}"

    async def main() -> None:
        nonlocal num_back
        transport = transport_to(ScriptedServer())
        async with AsyncClient("http://rewards.test", transport=transport, **SMALL, **QUICK) as client:
            async for _ in client.stream(source()):
                num_back += 1

    asyncio.run(main())

    assert num_back == 500
    assert most_ahead <= 3 * 6 + 2 * 6 + 2 * 6 + 1  # requests under way, window, results in hand, pair in hand


@both_kinds
def test_an_error_of_the_input_reaches_the_caller(kind: str) -> None:
    def source() -> Iterator[tuple[str, str]]:
        yield "p", "r"
        raise KeyError("the data set has a hole")

    with pytest.raises(KeyError, match="hole"):
        call(kind, "stream", source(), client={"transport": transport_to(ScriptedServer())})


def test_an_error_of_an_asynchronous_input_reaches_the_caller() -> None:
    async def source() -> AsyncIterator[tuple[str, str]]:
        yield "p", "r"
        raise KeyError("the data set has a hole")

    with pytest.raises(KeyError, match="hole"):
        call("async", "stream", source(), client={"transport": transport_to(ScriptedServer())})


def test_a_cancelled_call_leaves_no_request_under_way() -> None:
    ended: list[str] = []

    async def hanging(request: httpx.Request) -> httpx.Response:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(str(request.url))
        raise AssertionError("the event is never set")

    async def main() -> None:
        async with AsyncClient("http://rewards.test", transport=httpx.MockTransport(hanging), **QUICK) as client:
            task = asyncio.create_task(client.score([("p", "r")]))
            while not task.done() and not len(asyncio.all_tasks()) > 2:
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())

    assert ended == ["http://rewards.test/v1/score"]


@both_kinds
def test_a_server_that_never_answers_is_left_at_the_deadline(kind: str) -> None:
    over = threading.Event()

    def hanging(request: httpx.Request) -> httpx.Response:
        over.wait(5)
        raise httpx.ReadTimeout("hung", request=request)

    async def hanging_async(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        raise httpx.ReadTimeout("hung", request=request)

    handler = hanging if kind == "sync" else hanging_async
    with pytest.raises(DeadlineExceeded):
        call(kind, "score", [("p", "r")], client={"transport": httpx.MockTransport(handler)}, deadline_s=0.05)
    over.set()


def test_an_async_client_says_that_it_belongs_to_one_event_loop() -> None:
    client = AsyncClient("http://rewards.test", transport=transport_to(ScriptedServer()), **QUICK)
    asyncio.run(client.score([("p", "r")]))

    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(client.score([("p", "r")]))


def test_a_forked_process_opens_its_own_connections() -> None:
    with Client("http://rewards.test", transport=transport_to(ScriptedServer()), **QUICK) as client:
        before = client.score([("p", "r")]).scores
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # in the child: report, and leave without pytest's own end
            pooled = client._driver._http
            scores = client.score([("p", "r")]).scores
            os.write(writing, json.dumps([scores, client._driver._http is pooled]).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = json.loads(pipe.read())
        os.waitpid(child, 0)

    assert told == [before, False]


def test_a_stream_that_is_left_early_stops_sending() -> None:
    server = ScriptedServer()
    with Client("http://rewards.test", transport=transport_to(server), **SMALL, **QUICK) as client:
        results = client.stream((f"p {n}", "r") for n in range(10_000))
        next(iter(results))
        results.close()  # type: ignore[attr-defined]  # a generator, which the annotation need not promise

    assert len(server.requests) < 20


def test_the_path_of_the_url_is_a_prefix() -> None:
    paths: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json={"data": []})

    with Client("http://gateway.test/rewards/", transport=httpx.MockTransport(handle)) as client:
        assert client.models() == ()

    assert paths == ["/rewards/v1/models"]
