"""A client that costs next to nothing: it shares the processors with the server it measures.

HTTP/1.1 over asyncio's streams, one request at a time on a connection that is kept. A request costs it 0.06 to 0.09 ms
of processor time where httpx, on the same busy cores with 32 connections, took 4.7 to 5.8.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

END_OF_HEAD = b"\r\n\r\n"


class Refused(Exception):
    """A reply that is not 200: a benchmark of refusals would say nothing."""


class Connection:
    """One kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host

    @classmethod
    async def open(cls, url: str) -> Connection:
        """Connects to a server such as `http://127.0.0.1:8000`."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"given {url!r}; allowed: http://HOST:PORT")
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=2**20)
        return cls(reader, writer, parts.netloc)

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the reply to JSON that is written already.

        Raises:
            Refused: If the status is another than 200.
        """
        return await self._ask("POST", path, body)

    async def get(self, path: str) -> Any:
        """The parsed body of a GET."""
        return json.loads(await self._ask("GET", path, b""))

    def close(self) -> None:
        """Ends the connection."""
        with suppress(OSError):
            self._writer.close()

    async def _ask(self, method: str, path: str, body: bytes) -> bytes:
        self._writer.write(_request(self._host, method, path, body))
        first, headers = _head_of(await self._reader.readuntil(END_OF_HEAD))
        if headers.get("transfer-encoding", "").lower() == "chunked":
            reply = await self._chunks()
        else:
            reply = await self._reader.readexactly(int(headers["content-length"]))
        return _accepted(reply, first, f"{method} {path}")

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            parts.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readexactly(2)
        return b"".join(parts)


class Lone:
    """One kept connection that blocks: for a call whose own time is measured, because an event loop that wakes for a
    reply takes 0.4 ms of its own where nothing has run for a while (a plain socket 0.3 ms there and back, 0.7 with
    the class above)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname, parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of the reply, which must say how long it is.

        Raises:
            Refused: If the status is another than 200.
        """
        self._socket.sendall(_request(self._host, method, path, body))
        head, _, reply = self._received(b"", lambda got: END_OF_HEAD in got).partition(END_OF_HEAD)
        first, headers = _head_of(head)
        reply = self._received(reply, lambda got: len(got) >= int(headers["content-length"]))
        return _accepted(reply, first, f"{method} {path}")

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _received(self, got: bytes, is_enough: Callable[[bytes], bool]) -> bytes:
        while not is_enough(got):
            more = self._socket.recv(2**16)
            if not more:
                raise Refused("the connection was closed before the reply was whole")
            got += more
        return got


def _request(host: str, method: str, path: str, body: bytes) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _head_of(raw: bytes) -> tuple[str, dict[str, str]]:
    """The status line, and the headers by their names in lower case."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _accepted(reply: bytes, first: str, asked: str) -> bytes:
    if first.split(" ")[1] != "200":
        raise Refused(f"{asked}: {first}: {reply[:500]!r}")
    return reply


async def post_all(url: str, path: str, bodies: Sequence[bytes], num_connections: int) -> list[bytes]:
    """Replies to all bodies, in order; each connection takes the next body as soon as it is answered."""
    replies = [b""] * len(bodies)
    places = iter(range(len(bodies)))
    connections = await connect(url, min(num_connections, len(bodies)))

    async def client(connection: Connection) -> None:
        for place in places:
            replies[place] = await connection.post(path, bodies[place])

    try:
        await asyncio.gather(*map(client, connections))
    finally:
        close(connections)
    return replies


async def connect(url: str, num_connections: int) -> list[Connection]:
    """So many connections, opened one after the other: a burst of connects would measure the backlog."""
    return [await Connection.open(url) for _ in range(num_connections)]


def close(connections: Iterable[Connection]) -> None:
    """Ends them all."""
    for connection in connections:
        connection.close()


def own_cpu_s() -> float:
    """Processor seconds this process has used so far: what a client took from the server it measured."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
