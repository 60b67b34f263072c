"""The blocking driver: runs exchanges over `httpx.Client`, one thread for each attempt under way.

Besides `_async.py` the only file that imports httpx. It decides nothing about replies or retries.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Callable, TypeVar, Union

import httpx

from reward_client._exchange import Event, Exchange, Line, Lost, Outgoing, Reply, Send, StreamEnd
from reward_client._ndjson import LineBuffer
from reward_client._settings import KEEPALIVE_EXPIRY_S, LONGEST_WAIT_S, Settings

T = TypeVar("T")
THREAD_NAME = "reward-client attempt"
Transport = httpx.BaseTransport
if TYPE_CHECKING:
    Inbox = queue.SimpleQueue[Union[Event, Exception]]


class SyncDriver:
    """Owns the connections of one `Client`, and opens new ones in a process that was forked from the first.

    A forked process that used its parent's sockets could read the replies to its parent's requests.
    """

    def __init__(self, settings: Settings, transport: Transport | None) -> None:
        self._settings = settings
        self._transport = transport
        self._open()

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def run(self, exchange: Exchange[T], fill: Callable[[], None] = lambda: None) -> Iterator[T]:
        """Runs an exchange to its end, yielding results as they come; `fill` adds the pairs that it wants."""
        if os.getpid() != self._process_id:
            self._open()
        inbox: Inbox = queue.SimpleQueue()
        is_over = threading.Event()
        try:
            while True:
                exchange.tick(monotonic())
                fill()
                for send in exchange.take_sends(monotonic()):
                    arguments = (send, inbox, is_over)
                    threading.Thread(target=self._attempt, args=arguments, name=THREAD_NAME, daemon=True).start()
                results = exchange.take_results()
                yield from results
                if exchange.is_done:
                    return
                if not results:
                    _take_in(exchange, inbox)
        finally:
            is_over.set()

    def _open(self) -> None:
        self._process_id = os.getpid()
        self._permits = threading.BoundedSemaphore(self._settings.max_connections)
        limits = httpx.Limits(
            max_connections=self._settings.max_connections,
            max_keepalive_connections=self._settings.max_connections,
            keepalive_expiry=KEEPALIVE_EXPIRY_S,
        )
        self._http = httpx.Client(transport=self._transport, limits=limits)

    def _attempt(self, send: Send, inbox: Inbox, is_over: threading.Event) -> None:
        """Makes one attempt, in its own thread, once a connection is free; ends in an event or an error."""
        with self._permits:
            if is_over.is_set():
                return
            try:
                for event in self._events(send.attempt, send.build(monotonic()), is_over):
                    inbox.put(event)
            except Exception as error:  # handed to the caller's thread, which raises it
                inbox.put(error)

    def _events(self, attempt: int, outgoing: Outgoing, is_over: threading.Event) -> Iterator[Event]:
        ends_at = monotonic() + outgoing.timeout_s
        url = self._settings.url.rstrip("/") + outgoing.path
        try:
            with self._http.stream(
                outgoing.method,
                url,
                headers=dict(outgoing.headers),
                content=outgoing.body,
                timeout=outgoing.timeout_s,
            ) as response:
                chunks = _until(ends_at, is_over, response.iter_bytes())
                if outgoing.is_streaming and response.status_code == 200:
                    buffer = LineBuffer()
                    for chunk in chunks:
                        yield from (Line(attempt, line) for line in buffer.feed(chunk))
                    yield from (Line(attempt, line) for line in buffer.flush())
                    yield StreamEnd(attempt)
                else:
                    body = b"".join(chunks)
                    yield Reply(attempt, response.status_code, response.headers, body)
        except (httpx.TimeoutException, TimeoutError):
            yield Lost(attempt, f"no whole reply from {url} within {outgoing.timeout_s:.3g} s", "timeout")
        except httpx.RequestError as error:
            yield Lost(attempt, f"{url}: {type(error).__name__}: {error}")


def _until(ends_at: float, is_over: threading.Event, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Bounds the whole reply: httpx's own time-outs start again with every chunk."""
    for chunk in chunks:
        if monotonic() > ends_at or is_over.is_set():
            raise TimeoutError
        yield chunk


def _take_in(exchange: Exchange[T], inbox: Inbox) -> None:
    """Waits for an event, at most until the exchange wants to be woken; feeds all that have come."""
    wait_s = min(exchange.wake_at - monotonic(), LONGEST_WAIT_S)
    try:
        event = inbox.get(timeout=max(0.0, wait_s))
        while True:
            if isinstance(event, Exception):
                raise event
            exchange.feed(event, monotonic())
            event = inbox.get_nowait()
    except queue.Empty:
        return
