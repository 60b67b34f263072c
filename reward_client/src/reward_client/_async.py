"""The asyncio driver: runs exchanges over `httpx.AsyncClient`, one task for each attempt under way.

Besides `_sync.py` the only file that imports httpx. It decides nothing about replies or retries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable
from contextlib import suppress
from time import monotonic
from typing import Any, Callable, TypeVar

import httpx

from reward_client._exchange import Event, Exchange, Line, Lost, Outgoing, Reply, Send, StreamEnd
from reward_client._ndjson import LineBuffer
from reward_client._pairs import as_pair
from reward_client._protocol import PairJob
from reward_client._settings import KEEPALIVE_EXPIRY_S, LONGEST_WAIT_S, Settings
from reward_client.values import PairLike

T = TypeVar("T")
Transport = httpx.AsyncBaseTransport


class Inbox:
    """Events on their way to the exchange, and the bell that says so."""

    def __init__(self) -> None:
        self._events: deque[Event | Exception] = deque()
        self._bell = asyncio.Event()
        self._room = asyncio.Event()

    def put(self, event: Event | Exception) -> None:
        """Delivers an event, or an error for the caller."""
        self._events.append(event)
        self.ring()

    def ring(self) -> None:
        """Wakes the loop of the exchange."""
        self._bell.set()

    def tell_room(self) -> None:
        """Wakes whoever waits for room."""
        self._room.set()

    async def wait_for_room(self) -> None:
        """Returns when the exchange has moved on, and so may want more pairs."""
        self._room.clear()
        await self._room.wait()

    async def wait(self, wait_s: float) -> None:
        """Returns when something was put, somebody rang, or the time is over."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._bell.wait(), wait_s)
        self._bell.clear()

    def feed(self, exchange: Exchange[T]) -> None:
        """Feeds all events; raises what was put as an error."""
        while self._events:
            event = self._events.popleft()
            if isinstance(event, Exception):
                raise event
            exchange.feed(event, monotonic())


class AsyncDriver:
    """Owns the connections of one `AsyncClient`; they belong to the event loop of their first use."""

    def __init__(self, settings: Settings, transport: Transport | None) -> None:
        self._settings = settings
        limits = httpx.Limits(
            max_connections=settings.max_connections,
            max_keepalive_connections=settings.max_connections,
            keepalive_expiry=KEEPALIVE_EXPIRY_S,
        )
        self._http = httpx.AsyncClient(transport=transport, limits=limits)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._maybe_permits: asyncio.Semaphore | None = None

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def run(
        self,
        exchange: Exchange[T],
        fill: Callable[[], None] = lambda: None,
        feeder: Callable[[Inbox], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[T, None]:
        """Runs an exchange to its end, yielding results as they come.

        Args:
            exchange: What to run.
            fill: Adds the pairs that it wants from a source that is there.
            feeder: Adds pairs from an asynchronous source, in a task of its own.
        """
        permits = self._permits()
        inbox = Inbox()
        tasks: set[asyncio.Task[None]] = set()
        if feeder is not None:
            tasks.add(asyncio.ensure_future(_reporting(feeder(inbox), inbox)))
        try:
            while True:
                exchange.tick(monotonic())
                fill()
                for send in exchange.take_sends(monotonic()):
                    task = asyncio.ensure_future(_reporting(self._attempt(send, inbox, permits), inbox))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                results = exchange.take_results()
                inbox.tell_room()
                for result in results:
                    yield result
                if exchange.is_done:
                    return
                if not results:
                    await inbox.wait(max(0.0, min(exchange.wake_at - monotonic(), LONGEST_WAIT_S)))
                    inbox.feed(exchange)
        finally:
            under_way = list(tasks)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def _permits(self) -> asyncio.Semaphore:
        """Returns the semaphore that bounds requests under way, made in the event loop that uses it."""
        loop = asyncio.get_running_loop()
        if self._maybe_permits is None:
            self._loop = loop
            self._maybe_permits = asyncio.Semaphore(self._settings.max_connections)
        if loop is not self._loop:
            raise RuntimeError("this AsyncClient was first used in another event loop; make one for each loop")
        return self._maybe_permits

    async def _attempt(self, send: Send, inbox: Inbox, permits: asyncio.Semaphore) -> None:
        """Makes one attempt, once a connection is free; always ends in an event."""
        async with permits:
            outgoing = send.build(monotonic())
            url = self._settings.url.rstrip("/") + outgoing.path
            try:
                await asyncio.wait_for(self._request(send.attempt, outgoing, url, inbox), outgoing.timeout_s)
            except (httpx.TimeoutException, asyncio.TimeoutError):
                reason = f"no whole reply from {url} within {outgoing.timeout_s:.3g} s"
                inbox.put(Lost(send.attempt, reason, "timeout"))
            except httpx.RequestError as error:
                inbox.put(Lost(send.attempt, f"{url}: {type(error).__name__}: {error}"))

    async def _request(self, attempt: int, outgoing: Outgoing, url: str, inbox: Inbox) -> None:
        async with self._http.stream(
            outgoing.method,
            url,
            headers=dict(outgoing.headers),
            content=outgoing.body,
            timeout=outgoing.timeout_s,
        ) as response:
            if not (outgoing.is_streaming and response.status_code == 200):
                body = await response.aread()
                inbox.put(Reply(attempt, response.status_code, response.headers, body))
                return
            buffer = LineBuffer()
            async for chunk in response.aiter_bytes():
                for line in buffer.feed(chunk):
                    inbox.put(Line(attempt, line))
            for line in buffer.flush():
                inbox.put(Line(attempt, line))
            inbox.put(StreamEnd(attempt))


async def feed(job: PairJob[Any], pairs: AsyncIterable[PairLike], inbox: Inbox) -> None:
    """Adds pairs as they come, never more than the job wants; they are sent as soon as a request may start."""
    index = 0
    async for given in pairs:
        job.add(index, as_pair(given, index))
        index += 1
        inbox.ring()
        while not job.wants_pairs:
            await inbox.wait_for_room()
    job.close_input()
    inbox.ring()


async def _reporting(work: Awaitable[None], inbox: Inbox) -> None:
    """Awaits work whose unexpected errors belong to the caller."""
    try:
        await work
    except Exception as error:
        inbox.put(error)
