"""Runs an exchange against a scripted server with a clock that is only a number: the third driver."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from reward_client._calls import fill, placed, placed_by_prompt
from reward_client._exchange import Event, Exchange, Line, Lost, Outgoing, Reply, Send, StreamEnd
from reward_client._ndjson import LineBuffer
from reward_client._plain import PlainCall
from reward_client._protocol import PairJob
from reward_client._settings import CallOptions, Limits, RetryPolicy, Settings
from reward_client._wire import SCORE
from reward_client.values import PairLike, Result
from tests.client.scripted_server import LOST, Answer, ScriptedServer

MAX_STEPS = 20_000
"""More than any test needs; an exchange that wakes its driver for nothing goes over it."""


@dataclass
class Simulation:
    """A world of one exchange, one server and one clock.

    Attributes:
        now: The time; it jumps to the next event.
        results: What has been handed out so far.
        sent: Every attempt with the time of its start.
        max_under_way: The most attempts that were under way at one time.
    """

    server: ScriptedServer
    rng: random.Random
    now: float = 1000.0
    results: list[Result] = field(default_factory=list)
    sent: list[tuple[float, Outgoing]] = field(default_factory=list)
    max_under_way: int = 0

    def __post_init__(self) -> None:
        self._agenda: list[tuple[float, int, Event]] = []
        self._sequence = count()
        self._under_way: set[int] = set()

    def run(self, exchange: Exchange[Result], source: Iterable[PairLike] = ()) -> list[Result]:
        """Runs to the end and returns the results in the order they came."""
        pairs = placed_by_prompt(source) if isinstance(source, list) else placed(source)
        for _ in range(MAX_STEPS):
            exchange.tick(self.now)
            if isinstance(exchange, PairJob):
                fill(exchange, pairs)
            for send in exchange.take_sends(self.now):
                self._start(send)
            new = exchange.take_results()
            self.results += new
            if exchange.is_done:
                return self.results
            if not new:
                self._advance(exchange)
        raise AssertionError(f"no end after {MAX_STEPS} steps")

    def _start(self, send: Send) -> None:
        outgoing = send.build(self.now)
        self.sent.append((self.now, outgoing))
        self._under_way.add(send.attempt)
        self.max_under_way = max(self.max_under_way, len(self._under_way))
        answer = self.server.answer(outgoing.method, outgoing.path, outgoing.headers, outgoing.body)
        at = self.now
        for event in _events(send.attempt, outgoing, answer):
            at += self.rng.uniform(0.0, 2.0)
            heapq.heappush(self._agenda, (at, next(self._sequence), event))

    def _advance(self, exchange: Exchange[Result]) -> None:
        next_at = self._agenda[0][0] if self._agenda else float("inf")
        assert min(next_at, exchange.wake_at) < float("inf"), "nothing will ever happen"
        if exchange.wake_at < next_at:
            self.now = max(self.now, exchange.wake_at)
            return
        self.now, _, event = heapq.heappop(self._agenda)
        if not isinstance(event, Line):
            self._under_way.discard(event.attempt)
        exchange.feed(event, self.now)


def _events(attempt: int, outgoing: Outgoing, answer: Answer) -> list[Event]:
    if answer.status == LOST:
        return [Lost(attempt, "scripted")]
    if not (outgoing.is_streaming and answer.status == 200):
        reply = Reply(attempt, answer.status, answer.headers, answer.body)
        return [Lost(attempt, "cut short") if answer.is_cut else reply]
    lines = LineBuffer()
    events: list[Event] = [Line(attempt, line) for line in lines.feed(answer.body)]
    if answer.is_cut:
        return [*events, Lost(attempt, "cut short")]
    return [*events, *(Line(attempt, line) for line in lines.flush()), StreamEnd(attempt)]


def make_job(
    *,
    is_streaming: bool = False,
    retry_for_s: float = 150.0,
    max_pairs: int = 4,
    max_bytes: int = 10_000,
    max_requests: int = 3,
    now: float = 1000.0,
    seed: int = 0,
    timeout_s: float = 600.0,
    options: CallOptions | None = None,
) -> PairJob[Result]:
    """Returns a job with small limits, so that small inputs meet them."""
    settings = Settings(
        "http://rewards.test",
        timeout_s=timeout_s,
        retry=RetryPolicy(retry_for_s),
        limits=Limits(max_pairs, max_bytes, max_requests),
    )
    options = options or CallOptions()
    rng = random.Random(seed)
    return PairJob(SCORE, settings, options, is_streaming=is_streaming, now=now, rng=rng)


def make_plain(path: str, *, retry_for_s: float = 150.0, deadline_s: float = 600.0) -> PlainCall[bytes]:
    """Returns a plain GET whose result is the reply's body."""
    return PlainCall(
        "GET",
        path,
        b"",
        bytes,
        settings=Settings("http://rewards.test"),
        retry=RetryPolicy(retry_for_s),
        deadline_s=deadline_s,
        now=1000.0,
        rng=random.Random(0),
    )
