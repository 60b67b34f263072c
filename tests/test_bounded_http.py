"""What HTTP the server reads and refuses: heads and trailers have an end, and offers of an upgrade cost nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.cli import bounded_http
from service.cli.bounded_http import PENDING_BYTES
from tests.edge import Edge

HEAD = b"POST /%d HTTP/1.1\r\nHost: a\r\n"
POST = HEAD + b"Content-Length: 4\r\n\r\nbody"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"


async def answered(edge: Edge, *parts: bytes) -> tuple[bytes, bool]:
    """What a connection that is sent `parts` gets written, and whether it is closed."""
    connection, wire = edge.connect()
    for part in parts:
        if wire.is_closed:
            break
        connection.data_received(part)
        await edge.turns(5)
    if wire.is_closed:
        connection.connection_lost(None)
    return wire.written, wire.is_closed


async def refused(edge: Edge, *parts: bytes) -> str:
    """The words of the refusal that `parts` get, and nothing else but it."""
    written, is_closed = await answered(edge, *parts)
    assert written.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert written.count(b"HTTP/1.1") == 1
    assert is_closed
    return written.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize("piece", [b"x" * 4096, b"X: " + b"y" * 1000 + b"\r\n"], ids=["one field", "many fields"])
async def test_a_head_without_end_is_refused_before_it_is_large(edge: Edge, piece: bytes) -> None:
    words = await refused(edge, HEAD % 0, b"X: ", *[piece] * 100)

    assert f"allowed: {PENDING_BYTES}" in words
    assert int(words.split()[0]) < PENDING_BYTES + 5000
    assert edge.came == []


async def test_trailers_without_end_are_refused(edge: Edge) -> None:
    words = await refused(edge, (CHUNKED % 0)[:-3], b"0\r\nT: ", *[b"x" * 4096] * 100)

    assert f"allowed: {PENDING_BYTES}" in words


async def test_a_chunk_line_without_end_is_refused(edge: Edge) -> None:
    words = await refused(edge, (CHUNKED % 0)[:-3], b"4;x=", *[b"y" * 4096] * 100)

    assert f"allowed: {PENDING_BYTES}" in words


async def test_a_long_body_in_small_pieces_is_read(edge: Edge) -> None:
    body = b"x" * 100_000
    head = HEAD % 0 + b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[at : at + 700] for at in range(0, len(body), 700))]
    written, _ = await answered(edge, head, *chunks, b"0\r\n\r\n")

    assert written.endswith(body)


async def test_trailers_are_no_headers(edge: Edge) -> None:
    written, _ = await answered(edge, CHUNKED % 0 + b"Authorization: Bearer x\r\n\r\n")

    assert written.endswith(b"body")
    assert [name for name, _ in edge.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "byte by byte"])
async def test_an_offered_upgrade_is_passed_over_and_the_body_is_read(edge: Edge, whole: bool) -> None:
    sent = HEAD % 0 + OFFER + b"Content-Length: 4\r\n\r\nbody" + POST % 1
    connection, wire = edge.connect()
    for part in [sent] if whole else [sent[at : at + 1] for at in range(len(sent))]:
        connection.data_received(part)
        await edge.turns(1)
    await edge.turns(10)

    assert edge.paths == ["/0", "/1"]
    assert wire.written.count(b"\r\n\r\nbody") == 2
    assert dict(edge.scopes[0]["headers"])[b"connection"] == b"Upgrade, HTTP2-Settings"
    assert not wire.is_closed


async def test_many_offers_in_one_read_are_all_answered(edge: Edge) -> None:
    one = b"GET /x HTTP/1.1\r\nHost: a\r\n" + OFFER + b"\r\n"
    connection, wire = edge.connect()
    connection.data_received(one * 2000)
    await edge.turns(4100)

    assert wire.written.count(b"HTTP/1.1 200") == 2000


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"POST /x HTTP/1.1\r\n\r\n", "0 Host headers; allowed: one"),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "2 Host headers; allowed: one"),
        (HEAD % 0 + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", "Content-Length"),
        (HEAD % 0 + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n", "Content-Length"),
        (HEAD % 0 + b"Content-Length: x\r\n\r\n", "Content-Length"),
        (HEAD % 0 + b"a b: c\r\n\r\n", "header"),
        (HEAD % 0 + b"X: a\r\n folded\r\n\r\n", ""),
        (HEAD % 0 + b"X: a\x00b\r\n\r\n", "header"),
        (b"POST /\xff HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "method"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ],
)
async def test_what_is_no_request_is_refused_with_a_reason(edge: Edge, sent: bytes, said: str) -> None:
    words = await refused(edge, sent)

    assert said.lower() in words.lower()
    assert edge.came == []


async def test_a_broken_chunk_is_refused_and_its_request_learns_of_it(edge: Edge) -> None:
    words = await refused(edge, HEAD % 0 + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    await edge.turns(5)

    assert "chunk" in words
    assert edge.num_left == 1


async def test_a_reply_that_has_begun_is_not_fallen_into(edge: Edge) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await receive()
        await receive()

    edge.config.loaded_app = app
    written, is_closed = await answered(edge, POST % 0, b"no request at all\r\n\r\n")

    assert written.endswith(b"\r\n\r\n3\r\none\r\n")
    assert is_closed


async def test_http_1_0_needs_no_host_and_is_closed_after_its_reply(edge: Edge) -> None:
    written, is_closed = await answered(edge, b"GET /x HTTP/1.0\r\n\r\n")

    assert written.startswith(b"HTTP/1.1 200 OK")
    assert is_closed


async def test_white_space_around_a_value_is_not_of_it(edge: Edge) -> None:
    await answered(edge, b"GET /x HTTP/1.1\r\nHost: a\r\nX-Api-Key:  secret \t\r\n\r\n")

    assert dict(edge.scopes[0]["headers"])[b"x-api-key"] == b"secret"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of a second instead of a minute."""
    monkeypatch.setattr(bounded_http, "HEAD_S", 0.05)


async def closed(edge: Edge, *parts: bytes, every_s: float) -> tuple[bytes, bool]:
    """What a connection gets that is sent `parts` one by one, and whether it is closed some time after the last."""
    connection, wire = edge.connect()
    for part in (*parts, b""):
        if not wire.is_closed:
            connection.data_received(part) if part else None
            await asyncio.sleep(every_s)
    await edge.turns(5)
    return wire.written, wire.is_closed


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begun", [HEAD % 0, POST % 0 + HEAD % 1], ids=["first", "second"])
async def test_a_head_that_does_not_come_to_its_end_is_given_up(edge: Edge, begun: bytes) -> None:
    """However steadily it comes."""
    written, is_closed = await closed(edge, begun, *[b"x"] * 8, every_s=0.03)

    assert b"HTTP/1.1 408 Request Timeout\r\n" in written
    assert b"connection: close\r\n\r\n" in written
    assert is_closed


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_never_asks_is_closed_without_a_word(edge: Edge) -> None:
    assert await closed(edge, every_s=0.2) == (b"", True)


@pytest.mark.usefixtures("impatient")
async def test_a_body_may_take_its_time(edge: Edge) -> None:
    """As long as the app waits for it."""
    written, is_closed = await closed(edge, HEAD % 0 + b"Content-Length: 8\r\n\r\n", *[b"x"] * 8, every_s=0.03)

    assert written.endswith(b"x" * 8)
    assert not is_closed


@pytest.mark.usefixtures("impatient")
async def test_whoever_has_asked_is_not_hurried(edge: Edge) -> None:
    """Between requests the connection is uvicorn's to close."""
    written, is_closed = await closed(edge, POST % 0, POST % 1, every_s=0.15)

    assert written.count(b"HTTP/1.1 200 OK") == 2
    assert not is_closed
