"""One request's pairs on their way through a model, the same for every dialect.

Whatever the model does, a `ScoringCall` gives exactly one outcome for each pair, within the deadline, finite or an
error; reports each to the observer; and cancels the rest when it is closed early. It knows no wire format.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect

from service.api.arrival import Arrival
from service.errors import Cancelled, DeadlineExceeded, EngineFailure, NonFinite
from service.observability.events import SCORED, PairFinished
from service.observability.observers import Observer
from service.scoring.protocol import OutcomeStream, ServedModel
from service.types import PairInput, PairOutcome, ScoreOptions

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as scoring cares.

    Attributes:
        arrival: To notice when the caller leaves; the body has been read.
        default_timeout_s: The server's own bound for a request without a deadline.
        logs_text: Whether the operator wants rendered texts in the log.
        client: Who asks, for fair shares of a full queue.
    """

    run_id: str
    arrival: Arrival
    observer: Observer
    default_timeout_s: float
    logs_text: bool = False
    client: str = ""


class ScoringCall:
    """An async iterator of outcomes as they finish, one for each pair. Close it (`aclose`) in any case."""

    def __init__(self, model: ServedModel, num_pairs: int, options: ScoreOptions, caller: Caller) -> None:
        self._model = model
        self._pending = dict.fromkeys(range(num_pairs))  # a set that keeps its order
        self._caller = caller
        self._timeout_s = caller.default_timeout_s if options.deadline_s is None else options.deadline_s
        self._options = replace(options, run_id=caller.run_id, client=caller.client, deadline_s=self._timeout_s)
        self._ends_at_s = asyncio.get_running_loop().time() + self._timeout_s
        self._is_late = False
        self._maybe_stream: OutcomeStream | None = None

    @classmethod
    async def begin(
        cls, model: ServedModel, pairs: Sequence[PairInput], options: ScoreOptions, caller: Caller
    ) -> ScoringCall:
        """Submits the pairs; the clock of the deadline starts now.

        Raises:
            Overloaded, ModelNotReady: As the model's `submit` does; nothing was kept.
        """
        call = cls(model, len(pairs), options, caller)
        if pairs:
            await call._submit(pairs)
        return call

    def __aiter__(self) -> ScoringCall:
        """Returns itself."""
        return self

    async def __anext__(self) -> PairOutcome:
        """Waits for the next outcome, no longer than the deadline."""
        if not self._pending:
            raise StopAsyncIteration
        if self._is_late or self._maybe_stream is None:
            return self._taken(self._overdue())
        try:
            async with asyncio.timeout_at(self._ends_at_s) as bound:
                return self._taken(await self._next())
        except TimeoutError:
            if not bound.expired():
                raise
            await self._give_up()
            return self._taken(self._overdue())

    async def all(self, pairs: Sequence[PairInput]) -> list[PairOutcome]:
        """Submits the pairs of a call that was not begun and waits for every outcome; one timer for all of it.

        Raises:
            Overloaded, ModelNotReady: As the model's `submit` does; nothing was kept.
        """
        outcomes = []
        try:
            async with asyncio.timeout_at(self._ends_at_s) as bound:
                if pairs:
                    self._maybe_stream = await self._model.submit(pairs, self._options)
                while self._pending:
                    outcomes.append(self._taken(await self._next()))
        except TimeoutError:
            if not bound.expired():
                raise
            await self._give_up()
        while self._pending:
            outcomes.append(self._taken(self._overdue()))
        return outcomes

    async def aclose(self) -> None:
        """Cancels what has not been computed; each pair that was submitted and got no outcome is reported so."""
        if self._maybe_stream is not None:
            await self._maybe_stream.aclose()
        elif not self._is_late:
            return
        for index in list(self._pending):
            del self._pending[index]
            self._report(PairOutcome(index, error=Cancelled("the caller left before the pair was scored")))

    async def _submit(self, pairs: Sequence[PairInput]) -> None:
        try:
            async with asyncio.timeout_at(self._ends_at_s) as bound:
                self._maybe_stream = await self._model.submit(pairs, self._options)
        except TimeoutError:
            if not bound.expired():
                raise
            self._is_late = True

    async def _next(self) -> PairOutcome:
        """The model's next outcome, however long it takes."""
        if self._maybe_stream is None:
            raise RuntimeError("nothing was submitted")
        try:
            return await anext(self._maybe_stream)
        except StopAsyncIteration:
            return self._unanswered()

    async def _give_up(self) -> None:
        self._is_late = True
        if self._maybe_stream is not None:
            await self._maybe_stream.aclose()

    def _taken(self, outcome: PairOutcome) -> PairOutcome:
        """An outcome on its way out: finite or an error, counted, reported."""
        outcome = _sound(outcome)
        del self._pending[outcome.index]
        self._report(outcome)
        return outcome

    def _overdue(self) -> PairOutcome:
        message = f"the deadline of {self._timeout_s:g} s passed before the pair was scored"
        return PairOutcome(next(iter(self._pending)), error=DeadlineExceeded(message))

    def _unanswered(self) -> PairOutcome:
        """The model broke its promise; the caller still gets a reply that is not a number."""
        return PairOutcome(next(iter(self._pending)), error=EngineFailure("the engine gave no reply for this pair"))

    def _report(self, outcome: PairOutcome) -> None:
        encoded = outcome.encoded
        self._caller.observer.notify(
            PairFinished(
                model=self._model.card.model_id,
                dialect=self._options.dialect,
                run_id=self._options.run_id,
                outcome=outcome.error.code if outcome.error else SCORED,
                score=outcome.reward.score if outcome.reward else None,
                prompt_tokens=encoded.prompt_tokens if encoded else 0,
                response_tokens=encoded.response_tokens if encoded else 0,
                truncated_tokens=encoded.truncated_tokens if encoded else 0,
                computed_tokens=outcome.computed_tokens,
                reused_tokens=outcome.reused_tokens,
                is_duplicate=outcome.is_duplicate,
                ended=encoded.ended if encoded else None,
                timings=outcome.timings,
                rendered=encoded.rendered if encoded and self._caller.logs_text else None,
            )
        )


async def score_all(
    model: ServedModel, pairs: Sequence[PairInput], options: ScoreOptions, caller: Caller
) -> list[PairOutcome]:
    """Scores all pairs and returns their outcomes in input order, unless the caller leaves first.

    Raises:
        Overloaded, ModelNotReady: If the request was refused.
        DeadlineExceeded: If a deadline passed and no pair finished.
        ClientDisconnect: If the caller left; the rest was cancelled.
    """
    return await unless_disconnected(caller.arrival, _collect(model, pairs, options, caller))


async def unless_disconnected(arrival: Arrival, work: Coroutine[Any, Any, _T]) -> _T:
    """Awaits `work`, and cancels it as soon as the caller is gone.

    Raises:
        ClientDisconnect: If the caller left first; there is nobody to answer, so this is no error of ours.
    """
    watch = _Watch(arrival)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.end():
            raise ClientDisconnect from None
        raise
    finally:
        watch.end()


async def within(timeout_s: float, work: Coroutine[Any, Any, _T]) -> _T:
    """Awaits `work` for `timeout_s` seconds at most.

    Raises:
        DeadlineExceeded: If it took longer; it was cancelled.
    """
    try:
        async with asyncio.timeout(timeout_s) as bound:
            return await work
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise DeadlineExceeded(f"the server's bound of {timeout_s:g} s passed before the work was done") from error


async def _collect(
    model: ServedModel, pairs: Sequence[PairInput], options: ScoreOptions, caller: Caller
) -> list[PairOutcome]:
    async with aclosing(ScoringCall(model, len(pairs), options, caller)) as call:
        outcomes = await call.all(pairs)
    outcomes.sort(key=lambda outcome: outcome.index)
    overdue = [outcome.error for outcome in outcomes if isinstance(outcome.error, DeadlineExceeded)]
    if overdue and len(overdue) == len(outcomes):
        raise overdue[0]
    return outcomes


class _Watch:
    """Cancels the task that makes it once the caller is gone, until it is ended.

    The work stays in the handler's own task: one of its own would cost five turns of the event loop a request, in each
    of which the engine's threads may take the interpreter's lock.
    """

    def __init__(self, arrival: Arrival) -> None:
        worker = asyncio.current_task()
        if worker is None:
            raise RuntimeError("there is no task to cancel")
        self._worker = worker
        self._num_cancels = worker.cancelling()
        self._has_cancelled = self._is_over = False
        self._forget = arrival.on_leaving(self._leave)

    def end(self) -> bool:
        """Watches no longer; takes back its own cancelling and says whether there was that one and no other."""
        if self._is_over:
            return False
        self._is_over = True
        self._forget()
        return self._has_cancelled and self._worker.uncancel() <= self._num_cancels

    def _leave(self) -> None:
        if not self._is_over:
            self._has_cancelled = True
            self._worker.cancel()


def _sound(outcome: PairOutcome) -> PairOutcome:
    """The last gate: whatever happened below, an outcome leaves with a finite reward or with an error."""
    reward = outcome.reward
    if reward is None:
        return outcome if outcome.error else replace(outcome, error=EngineFailure("the engine gave no score"))
    values = (reward.score, *reward.objectives, *reward.steps, *reward.token_values)
    if all(map(math.isfinite, values)):
        return outcome
    return replace(outcome, reward=None, error=NonFinite("the model's output for this pair is NaN or infinite"))
