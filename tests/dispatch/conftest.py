"""A dispatcher over the fake engine, and tickets to ask it with."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from service.dispatch.dispatcher import Dispatcher
from service.dispatch.engine_thread import EngineThread
from service.dispatch.frame_report import FrameReport
from service.dispatch.ledger import Reply, Ticket
from service.dispatch.score_cache import ScoreCache
from service.engine.fake import FakeEngine
from service.scheduling.batcher import FrameLimits
from service.scheduling.prefix_directory import PrefixDirectory
from service.types import EncodedPair, Priority


class Gate:
    """Holds the engine inside a frame until opened, so that a test decides what waits meanwhile."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.entered = threading.Event()

    def shut(self) -> None:
        """The next frame stays in the engine."""
        self._open.clear()
        self.entered.clear()

    def open(self) -> None:
        """Lets frames through."""
        self._open.set()

    def __call__(self, frame: object) -> None:
        self.entered.set()
        assert self._open.wait(10), "the test never opened the gate"

    async def wait_until_entered(self) -> None:
        """Returns once a frame is inside the engine."""
        assert await asyncio.to_thread(self.entered.wait, 10)


class Counter:
    """A dispatcher to ask, with its engine and what it reported."""

    def __init__(self, engine: FakeEngine, dispatcher: Dispatcher, reports: list[FrameReport]) -> None:
        self.engine = engine
        self.dispatcher = dispatcher
        self.reports = reports

    def ask(
        self,
        *pairs: EncodedPair,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float = 1e9,
        explain: bool = False,
    ) -> Ticket:
        """Enqueues pairs on one new ticket."""
        ticket = Ticket(priority, deadline_s, explain)
        for index, pair in enumerate(pairs):
            self.dispatcher.enqueue(ticket, index, pair)
        return ticket


async def replies(ticket: Ticket, num_pairs: int) -> list[Reply]:
    """The replies of a ticket by index, each exactly once."""
    come = [await asyncio.wait_for(ticket.replies.get(), 10) for _ in range(num_pairs)]
    assert sorted(reply.index for reply in come) == list(range(num_pairs))
    assert ticket.replies.empty()
    return sorted(come, key=lambda reply: reply.index)


@asynccontextmanager
async def open_counter(
    on_run: Callable[[object], None] | None = None,
    max_tokens: int = 200,
    cache_pairs: int = 0,
    engine: FakeEngine | None = None,
    kept_tokens: int = 0,
    max_forward_s: float | None = None,
    on_frame: Callable[[FrameReport], None] = lambda report: None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Counter]:
    """A running dispatcher, closed at the end."""
    engine = engine or FakeEngine(max_frame_tokens=max_tokens, on_run=on_run)
    reports: list[FrameReport] = []

    def note(report: FrameReport) -> None:
        reports.append(report)
        on_frame(report)

    thread = EngineThread(engine, max_forward_s)
    await thread.warm_up(lambda words: None)
    dispatcher = Dispatcher(
        thread,
        FrameLimits(max_tokens),
        cache=ScoreCache(cache_pairs),
        directory=PrefixDirectory(kept_tokens),
        on_frame=note,
        clock=clock,
    )
    dispatcher.start()
    try:
        yield Counter(engine, dispatcher, reports)
    finally:
        await dispatcher.close()
        await thread.close()


@pytest.fixture
def gate() -> Gate:
    return Gate()
