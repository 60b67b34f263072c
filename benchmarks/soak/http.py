"""Just enough of HTTP/1.1 over asyncio for thousands of connections: an HTTP library's pool costs too much there.

Whoever receives more than one reply on a connection that asked once gets an error: nothing may be answered twice.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any


class Broken(Exception):
    """The connection failed or the reply was cut short: there is no reply."""


class AnsweredTwice(Exception):
    """More came back than one reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)


def request_bytes(method: str, path: str, body: bytes = b"", headers: tuple[str, ...] = ()) -> bytes:
    """A whole request that asks for its connection to be closed after the reply."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *headers]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    timeout_s: float | None = None,
    headers: tuple[str, ...] = (),
) -> Reply:
    """Sends one request on a connection of its own and reads to its end.

    Raises:
        Broken: If there was no whole reply; a time-out of the caller's own is one.
        AnsweredTwice: If there was more.
    """
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request_bytes(method, path, raw, headers))
                await writer.drain()
                received = await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise Broken(repr(error)) from error
    return parsed(received)


def parsed(received: bytes) -> Reply:
    """Reads one reply from all that came.

    Raises:
        Broken, AnsweredTwice: As `ask` does.
    """
    head, found, rest = received.partition(b"\r\n\r\n")
    if not found:
        raise Broken(f"{len(received)} bytes and no reply")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, rest = _unchunked(rest)
    else:
        length = int(headers.get("content-length", len(rest)))  # without one, the body ends with the connection
        if len(rest) < length:
            raise Broken(f"{len(rest)} of {length} bytes")
        body, rest = rest[:length], rest[length:]
    if rest:
        raise AnsweredTwice(rest[:80])
    return Reply(int(first.split(" ")[1]), headers, body)


def _unchunked(rest: bytes) -> tuple[bytes, bytes]:
    """The body of a chunked reply, and what comes after it."""
    body = b""
    while True:
        size, found, rest = rest.partition(b"\r\n")
        if not found:
            raise Broken("a chunked reply was cut short")
        length = int(size, 16)
        if len(rest) < length + 2:
            raise Broken("a chunked reply was cut short")
        body, rest = body + rest[:length], rest[length + 2 :]
        if length == 0:
            return body, rest
