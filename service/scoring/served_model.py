"""One model being served: encodes pairs, admits them, puts them in line, and turns replies into outcomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from service.dispatch.dispatcher import Dispatcher, Reply, Ticket
from service.dispatch.engine_thread import EngineThread
from service.errors import InvalidInput, ModelNotReady, RewardServiceError
from service.scoring.golden import GoldenSpec, check_golden
from service.tokenization.pool import TokenizerPool
from service.types import (
    EncodedPair,
    GoldenCheck,
    Health,
    ModelCard,
    PairInput,
    PairOutcome,
    Reward,
    ScoreOptions,
    Timings,
    Truncation,
)

ENCODE_SLICE = 256
"""Pairs encoded before the first of them are enqueued: the engine starts while the rest is being tokenized."""


@dataclass(slots=True)
class Reservation:
    """What a request holds of the queue's room; given back pair by pair, the rest when it is closed."""

    num_pairs: int
    num_tokens: int


class TorchServedModel:
    """A `ServedModel` over a tokenizer pool and a dispatcher. Knows no HTTP."""

    def __init__(
        self,
        card: ModelCard,
        pool: TokenizerPool,
        engine: EngineThread,
        dispatcher: Dispatcher,
        golden: GoldenSpec,
        *,
        default_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.card = card
        self._pool = pool
        self._engine = engine
        self._dispatcher = dispatcher
        self._golden = golden
        self._default_timeout_s = default_timeout_s
        self._clock = clock
        self._not_ready_because = "golden pairs have not been scored yet"

    def health(self) -> Health:
        """Ready once the golden pairs agreed and while the engine thread lives."""
        if not self._dispatcher.is_alive:
            return Health(False, "the engine thread is not running")
        return Health(not self._not_ready_because, self._not_ready_because)

    async def start(self) -> None:
        """Scores the golden pairs through the real path; ready if all agree."""
        failed = [check for check in await self.verify() if not check.is_ok]
        self._not_ready_because = "; ".join(map(_describe, failed))
        self.card = replace(self.card, is_verified=self.card.is_verified and not failed)

    async def submit(self, pairs: Sequence[PairInput], options: ScoreOptions) -> AsyncIterator[PairOutcome]:
        """Admits the request, then yields outcomes as they finish."""
        health = self.health()
        if not health.is_ready:
            raise ModelNotReady(health.reason)
        return self._admit(pairs, options)

    async def preview(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        """Encodes without scoring."""
        return await self._pool.encode_many(pairs, truncation)

    async def verify(self) -> list[GoldenCheck]:
        """Scores the golden pairs through the same path as everyone's."""
        options = ScoreOptions(dialect="verify")
        outcomes = self._admit(self._golden.inputs, options)
        by_index = {outcome.index: outcome async for outcome in outcomes}
        return check_golden(self._golden, [by_index[index] for index in range(len(self._golden.inputs))])

    async def close(self) -> None:
        """Answers who waits, then frees engine and tokenizers."""
        await self._dispatcher.close()
        await self._engine.close()
        self._pool.close()

    def _admit(self, pairs: Sequence[PairInput], options: ScoreOptions) -> AsyncIterator[PairOutcome]:
        """Reserves room for all pairs on their upper bounds, before any work is done."""
        bounds = [self._pool.upper_bound_tokens(pair) for pair in pairs]
        self._dispatcher.admission.admit(len(pairs), sum(bounds))
        return self._outcomes(pairs, bounds, options)

    async def _outcomes(
        self, pairs: Sequence[PairInput], bounds: Sequence[int], options: ScoreOptions
    ) -> AsyncIterator[PairOutcome]:
        held = Reservation(len(pairs), sum(bounds))
        timeout_s = self._default_timeout_s if options.deadline_s is None else options.deadline_s
        ticket = Ticket(options.priority, self._clock() + timeout_s, options.explain)
        request = _Request(self._pool, self._dispatcher, ticket, held, self._clock)
        try:
            async for outcome in request.outcomes(pairs, bounds, options.truncation):
                yield outcome
        finally:
            self._dispatcher.close_ticket(ticket)
            self._dispatcher.admission.release(held.num_pairs, held.num_tokens)


@dataclass(slots=True)
class _Request:
    """The life of one admitted request: encode a slice, enqueue it, hand on what has finished."""

    pool: TokenizerPool
    dispatcher: Dispatcher
    ticket: Ticket
    held: Reservation
    clock: Callable[[], float]

    async def outcomes(
        self, pairs: Sequence[PairInput], bounds: Sequence[int], truncation: Truncation
    ) -> AsyncIterator[PairOutcome]: ...
