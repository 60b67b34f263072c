"""One model being served: admits requests, and says whether it is ready and whether it still scores as it should."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.dispatch.dispatcher import Dispatcher
from service.dispatch.engine_thread import EngineThread
from service.dispatch.ledger import Ticket
from service.dispatch.replies import Deadlines
from service.errors import Cancelled, InvalidInput, ModelNotReady
from service.scheduling.admission import Admission
from service.scoring.parking import ParkingLot
from service.scoring.request_stream import RequestStream
from service.tokenization.pool import TokenizerPool
from service.types import (
    Conversation,
    EncodedPair,
    GoldenCheck,
    Health,
    ModelCard,
    PairInput,
    PairOutcome,
    Priority,
    ScoreOptions,
    Truncation,
)


@dataclass(frozen=True, slots=True)
class GoldenPair:
    """A pair whose score is known, and how far the score may lie from it in the dtype being served."""

    name: str
    conversation: Conversation
    score: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class Parts:
    """What a served model is made of, in the order a request meets them."""

    pool: TokenizerPool
    admission: Admission
    dispatcher: Dispatcher
    engine: EngineThread


class LoadedModel:
    """A `ServedModel`. Knows no HTTP and no torch."""

    def __init__(
        self,
        card: ModelCard,
        parts: Parts,
        golden: Sequence[GoldenPair],
        *,
        default_timeout_s: float,
        park_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._card = card
        self._parts = parts
        self._golden = tuple(golden)
        self._default_timeout_s = default_timeout_s
        self._park_s = park_s
        self._lot = ParkingLot(parts.admission)
        self._clock = clock
        self._deadlines = Deadlines(clock)
        self._not_ready_because = "the golden pairs have not been scored yet"

    @property
    def card(self) -> ModelCard:
        """What the model tells of itself."""
        return self._card

    @property
    def num_parked(self) -> int:
        """Requests that wait for room in the queue."""
        return len(self._lot)

    def health(self) -> Health:
        """Ready once the golden pairs agreed and while the engine thread lives."""
        if not self._parts.dispatcher.is_alive:
            return Health(False, f"the engine thread is not running: {self._parts.dispatcher.ended_because}", True)
        return Health(not self._not_ready_because, self._not_ready_because)

    async def start(self) -> None:
        """Scores the golden pairs through the real path; the model is ready if all agree."""
        failed = [check for check in await self.verify() if not check.is_ok]
        self._not_ready_because = "; ".join(map(_describe, failed))
        self._card = replace(self._card, is_verified=self._card.is_verified and not failed)

    async def submit(self, pairs: Sequence[PairInput], options: ScoreOptions) -> RequestStream:
        """Admits all pairs of a request or refuses it; bulk requests may wait a while for room."""
        self._check_ready()
        return await self._admit(pairs, options)

    async def preview(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        """Encodes without scoring."""
        return await self._parts.pool.encode_many(pairs, truncation)

    async def verify(self) -> list[GoldenCheck]:
        """Scores the golden pairs now, through the path everyone's pairs take."""
        stream = await self._admit([pair.conversation for pair in self._golden], ScoreOptions(dialect="verify"))
        outcomes = {outcome.index: outcome async for outcome in stream}
        return [_check(pair, outcomes[index]) for index, pair in enumerate(self._golden)]

    def cancel_all(self) -> None:
        """Answers everyone who waits with `cancelled` now: the time to shut down in is over."""
        self._lot.turn_away(Cancelled("the server is shutting down; this request was not admitted"))
        self._parts.dispatcher.cancel_all()

    async def close(self) -> None:
        """Answers who waits, then frees engine and tokenizers."""
        await self._parts.dispatcher.close()
        await self._parts.engine.close()
        self._parts.pool.close()

    def _check_ready(self) -> None:
        health = self.health()
        if not health.is_ready:
            raise ModelNotReady(health.reason)

    async def _admit(self, pairs: Sequence[PairInput], options: ScoreOptions) -> RequestStream:
        """Reserves room for all pairs on their upper bounds, before any work is done."""
        parts = self._parts
        bounds = [parts.pool.upper_bound_tokens(pair) for pair in pairs]
        timeout_s = self._default_timeout_s if options.deadline_s is None else options.deadline_s
        ends_at_s = self._clock() + timeout_s
        wait_s = min(self._park_s, timeout_s) if options.priority is Priority.BULK else 0.0
        await self._lot.admit(len(pairs), sum(bounds), options.client, wait_s)
        ticket = Ticket(options.priority, ends_at_s, options.explain, options.client)
        stream = RequestStream(
            parts.pool,
            parts.dispatcher,
            parts.admission,
            self._lot.wake,
            ticket,
            bounds,
            self._deadlines,
            self._clock,
        )
        stream.start(pairs, options.truncation)
        return stream


def _check(pair: GoldenPair, outcome: PairOutcome) -> GoldenCheck:
    return GoldenCheck(
        name=pair.name,
        expected=pair.score,
        actual=outcome.reward.score if outcome.reward else None,
        tolerance=pair.tolerance,
        error=outcome.error.message if outcome.error else None,
    )


def _describe(check: GoldenCheck) -> str:
    given = check.error if check.actual is None else f"{check.actual!r}"
    return f"golden pair {check.name!r}: expected {check.expected!r} within {check.tolerance:g}, got {given}"
