"""Requests come in one at a turn, in order and whole; probes walk past, and nobody who left takes a turn's work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.cli import bounded_http
from tests.edge import Edge

POST = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
PROBE = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_a_burst_is_let_in_one_at_a_turn_and_in_order(edge: Edge) -> None:
    wires = []
    for number in range(20):
        connection, wire = edge.connect()
        connection.data_received(POST % number)
        wires.append(wire)
    await edge.turns(30)

    assert edge.paths == [f"/{number}" for number in range(20)]
    turns = [turn for _, turn in edge.came]
    assert len(set(turns)) == len(turns)
    assert all(wire.written.endswith(b"body") and wire.written.count(b"HTTP/1.1 200") == 1 for wire in wires)


@pytest.mark.parametrize("line", [b"GET /livez HTTP", b"HEAD /livez HTTP", b"GET /readyz?x=1 HTTP"])
async def test_a_probe_does_not_wait_behind_a_burst(edge: Edge, line: bytes) -> None:
    for number in range(50):
        edge.connect()[0].data_received(POST % number)
    edge.connect()[0].data_received(PROBE.replace(b"GET /livez HTTP", line))
    await edge.turns(3)

    assert line.split(b" ")[1].split(b"?")[0].decode() in edge.paths
    assert len(edge.came) < 10


async def test_a_path_that_only_begins_like_a_probe_waits(edge: Edge) -> None:
    for number in range(5):
        edge.connect()[0].data_received(POST % number)
    edge.connect()[0].data_received(PROBE.replace(b"/livez", b"/livezz"))
    await edge.turns(10)

    assert edge.paths == ["/0", "/1", "/2", "/3", "/4", "/livezz"]


async def test_the_rest_of_a_body_finds_its_request_whether_that_waits_or_not(edge: Edge) -> None:
    edge.connect()[0].data_received(POST % 0)
    slow, wire = edge.connect()
    whole = POST % 1
    for place in range(len(whole)):
        slow.data_received(whole[place : place + 1])
        if place > 60:
            await edge.turns(1)
    await edge.turns(5)

    assert edge.paths == ["/0", "/1"]
    assert wire.written.endswith(b"body")


async def test_two_requests_on_one_connection_are_both_answered_and_each_waits_for_its_turn(edge: Edge) -> None:
    connection, wire = edge.connect()
    connection.data_received(POST % 0)
    await edge.turns(5)
    edge.connect()[0].data_received(POST % 1)
    connection.data_received(POST % 2)
    await edge.turns(10)

    assert edge.paths == ["/0", "/1", "/2"]
    assert wire.written.count(b"HTTP/1.1 200") == 2


async def test_a_connection_that_waits_for_its_turn_is_not_closed_as_an_idle_one(edge: Edge) -> None:
    connection, _ = edge.connect()
    connection.data_received(POST % 0)
    await edge.turns(5)
    timer = connection.timeout_keep_alive_task
    assert not timer.cancelled()
    edge.connect()[0].data_received(POST % 1)
    connection.data_received(POST % 2)

    assert timer.cancelled()


async def test_who_waits_for_its_turn_is_not_taken_for_one_who_never_asks(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head is here: it is not the caller who is slow."""
    monkeypatch.setattr(bounded_http, "HEAD_S", 0.02)
    monkeypatch.setattr(edge.turnstile, "_is_open", False)
    connection, wire = edge.connect()
    connection.data_received(POST % 0)
    await asyncio.sleep(0.1)

    assert not wire.is_closed
    edge.turnstile._turn()
    await edge.turns(10)
    assert wire.written.endswith(b"body")


async def test_who_leaves_while_waiting_is_not_handled(edge: Edge) -> None:
    edge.connect()[0].data_received(POST % 0)
    leaver, wire = edge.connect()
    leaver.data_received(POST % 1)
    wire.close()
    leaver.connection_lost(None)
    edge.connect()[0].data_received(POST % 2)
    await edge.turns(10)

    assert edge.paths == ["/0", "/2"]


async def test_a_large_body_that_waits_is_not_read_further_until_its_turn(edge: Edge) -> None:
    edge.connect()[0].data_received(POST % 0)
    large, wire = edge.connect()
    large.data_received(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70_000)
    assert not wire.is_reading

    await edge.turns(3)
    large.data_received(b"x" * 30_000)
    await edge.turns(5)

    assert wire.is_reading
    assert wire.written.endswith(b"x" * 100_000)


async def test_a_request_that_waits_while_the_server_is_told_to_stop_is_answered(edge: Edge) -> None:
    edge.connect()[0].data_received(POST % 0)
    waiting, wire = edge.connect()
    waiting.data_received(POST % 1)
    idle, idle_wire = edge.connect()
    for connection in (waiting, idle):
        connection.shutdown()
    await edge.turns(5)

    assert edge.paths == ["/0", "/1"]
    assert wire.written.endswith(b"body")
    assert wire.is_closed
    assert idle_wire.is_closed


async def test_a_server_at_rest_lets_in_at_once(edge: Edge) -> None:
    for number in range(5):
        edge.connect()[0].data_received(POST % number)
        await edge.turns(2)

    assert edge.came == [(f"/{number}", 2 * number + 1) for number in range(5)]


async def test_a_whole_reply_has_left_before_the_app_goes_on(edge: Edge) -> None:
    connection, wire = edge.connect()
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        seen.append(wire.written[-2:])

    connection.app = app
    connection.data_received(POST % 0)
    await edge.turns(3)

    assert seen == [b"ok"]
