"""Runs the same call on `Client` and `AsyncClient`, over a scripted server behind httpx's own transports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from reward_client import AsyncClient, Client
from tests.client.scripted_server import LOST, ScriptedServer

KINDS = ("sync", "async")
QUICK: dict[str, Any] = {"backoff_s": (0.001, 0.01), "retry_for_s": 20.0, "timeout_s": 20.0}
"""Waits that a test can sit through, ends that it never meets."""


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A reply's body in two chunks, after which the connection may break."""

    def __init__(self, body: bytes, is_cut: bool) -> None:
        self._chunks = [body[: len(body) // 2], body[len(body) // 2 :]]
        self._is_cut = is_cut

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._is_cut:
            raise httpx.ReadError("scripted")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def transport_to(server: ScriptedServer) -> httpx.MockTransport:
    """Returns a transport, for either client, whose other end is `server`."""

    def handle(request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = server.answer(request.method, request.url.path, headers, request.read())
        if answer.status == LOST:
            raise httpx.ConnectError("scripted", request=request)
        return httpx.Response(answer.status, headers=answer.headers, stream=Body(answer.body, answer.is_cut))

    return httpx.MockTransport(handle)


def call(kind: str, method: str, *arguments: Any, url: str = "http://rewards.test", **options: Any) -> Any:
    """Makes a client, calls one method, closes it. Streams come back as lists. `client` holds its arguments."""
    settings = {**QUICK, "rng": random.Random(0), **options.pop("client", {})}
    if kind == "sync":
        with Client(url, **settings) as client:
            answer = getattr(client, method)(*arguments, **options)
            return list(answer) if method == "stream" else answer
    return asyncio.run(_call_async(url, settings, method, arguments, options))


async def _call_async(
    url: str, settings: dict[str, Any], method: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    async with AsyncClient(url, **settings) as client:
        answer = getattr(client, method)(*arguments, **options)
        return [result async for result in answer] if method == "stream" else await answer
