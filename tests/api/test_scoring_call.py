"""The scoring call itself, for what no route shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from service.api.arrival import Arrival, AwaitedArrival
from service.api.scoring_call import Caller, ScoringCall, score_all, unless_disconnected, within
from service.errors import DeadlineExceeded, EngineFailure, Overloaded
from service.observability.events import PairFinished
from service.observability.observers import RecordingObserver
from service.types import Conversation, EncodedPair, Message, PairOutcome, Reward, ScoreOptions, Timings
from tests.fakes import FakeServedModel, FakeStream

PAIR = Conversation((Message("user", "p"),), "r")


async def never() -> Any:
    await asyncio.Event().wait()


def caller_of(observer: RecordingObserver) -> Caller:
    return Caller("run", Arrival(), observer, default_timeout_s=100)


class ScriptedModel(FakeServedModel):
    """Gives the outcomes it was handed."""

    def outcome(self, index: int, pair: object, explain: bool) -> PairOutcome:
        return self.script[index]  # type: ignore[no-any-return,attr-defined]


async def outcomes_of(script: Sequence[PairOutcome], observer: RecordingObserver) -> list[PairOutcome]:
    model = ScriptedModel()
    model.script = script  # type: ignore[attr-defined]
    call = await ScoringCall.begin(model, [PAIR] * len(script), ScoreOptions(), caller_of(observer))
    return [outcome async for outcome in call]


@pytest.mark.parametrize(
    "reward",
    [
        Reward(float("nan")),
        Reward(1.0, objectives=(1.0, float("inf"))),
        Reward(1.0, steps=(float("-inf"),)),
        Reward(1.0, token_values=(float("nan"),)),
    ],
    ids=["score", "objective", "step", "token"],
)
async def test_nothing_that_is_not_finite_leaves(reward: Reward, observer: RecordingObserver) -> None:
    (outcome,) = await outcomes_of([PairOutcome(0, reward=reward)], observer)

    assert outcome.reward is None
    assert outcome.error is not None
    assert outcome.error.code == "non_finite"


async def test_an_outcome_that_is_neither_score_nor_error_becomes_an_error(observer: RecordingObserver) -> None:
    (outcome,) = await outcomes_of([PairOutcome(0)], observer)

    assert isinstance(outcome.error, EngineFailure)


async def test_a_pair_is_reported_with_what_it_cost(observer: RecordingObserver) -> None:
    encoded = EncodedPair((1, 2, 3), (0,), (2,), None, 2, 1, 5, True, "text")
    timings = Timings(1, 2, 3)
    outcome = PairOutcome(0, Reward(0.5), None, encoded, 2, 1, True, timings)
    await outcomes_of([outcome], observer)

    assert observer.of_type(PairFinished) == [
        PairFinished(
            model=FakeServedModel().card.model_id,
            dialect="native",
            run_id="run",
            outcome="score",
            score=0.5,
            prompt_tokens=2,
            response_tokens=1,
            truncated_tokens=5,
            computed_tokens=2,
            reused_tokens=1,
            is_duplicate=True,
            ended=True,
            timings=timings,
            rendered=None,
        )
    ]


async def test_an_expired_call_asks_the_model_for_nothing_more(observer: RecordingObserver) -> None:
    model = FakeServedModel(holds={0: asyncio.Event()})
    options = ScoreOptions(deadline_s=0.005)
    call = await ScoringCall.begin(model, [PAIR] * 3, options, caller_of(observer))
    outcomes = [outcome async for outcome in call]
    await call.aclose()

    assert [(outcome.index, type(outcome.error)) for outcome in outcomes] == [(i, DeadlineExceeded) for i in range(3)]
    assert model.num_closed == 1
    assert [event.outcome for event in observer.of_type(PairFinished)] == ["deadline"] * 3


class SlowToAdmit(FakeServedModel):
    """Never gets round to admitting anything."""

    async def submit(self, *args: object) -> FakeStream:
        await never()
        raise AssertionError("unreachable")


async def test_the_deadline_bounds_admission_too(observer: RecordingObserver) -> None:
    call = await ScoringCall.begin(SlowToAdmit(), [PAIR], ScoreOptions(deadline_s=0.005), caller_of(observer))

    assert [outcome.error.code async for outcome in call if outcome.error] == ["deadline"]


async def test_closing_twice_is_harmless(observer: RecordingObserver) -> None:
    call = await ScoringCall.begin(FakeServedModel(), [PAIR], ScoreOptions(), caller_of(observer))
    await call.aclose()
    await call.aclose()

    assert [event.outcome for event in observer.of_type(PairFinished)] == ["cancelled"]


async def test_work_is_cancelled_when_the_caller_leaves() -> None:
    was_cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await never()
        finally:
            was_cancelled.set()

    async def leave() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await unless_disconnected(AwaitedArrival(leave), work())
    assert was_cancelled.is_set()


async def test_a_time_out_of_the_work_itself_is_not_mistaken_for_ours() -> None:
    async def work() -> None:
        raise TimeoutError("somebody else's")

    with pytest.raises(TimeoutError, match="somebody else's"):
        await within(100, work())


async def test_who_cancels_the_work_is_not_taken_for_a_caller_who_leaves() -> None:
    waiting = asyncio.create_task(unless_disconnected(Arrival(), never()))
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_caller_who_leaves_as_the_work_ends_cancels_nothing_after_it() -> None:
    left = asyncio.Event()

    async def leave() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def work() -> str:
        left.set()
        with contextlib.suppress(asyncio.CancelledError):
            await never()
        return "done"

    assert await unless_disconnected(AwaitedArrival(leave), work()) == "done"
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    await asyncio.sleep(0)


@pytest.mark.parametrize("order", ["before", "meanwhile"])
async def test_work_is_cancelled_when_the_connection_says_that_it_is_lost(order: str) -> None:
    arrival = Arrival()
    if order == "before":
        arrival.leave()
    else:
        asyncio.get_running_loop().call_soon(arrival.leave)

    with pytest.raises(ClientDisconnect):
        await unless_disconnected(arrival, never())


async def test_a_connection_that_is_lost_after_the_work_cancels_nothing() -> None:
    arrival = Arrival()

    assert await unless_disconnected(arrival, within(100, asyncio.sleep(0, "done"))) == "done"
    arrival.leave()
    await asyncio.sleep(0)


async def test_all_of_a_request_is_bounded_by_one_deadline(observer: RecordingObserver) -> None:
    model = FakeServedModel(holds={1: asyncio.Event()})
    call = ScoringCall(model, 3, ScoreOptions(deadline_s=0.005), caller_of(observer))
    outcomes = await call.all([PAIR] * 3)
    await call.aclose()

    errors = {outcome.index: type(outcome.error) for outcome in outcomes if outcome.error}
    assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2]
    assert errors[1] is DeadlineExceeded
    assert len(observer.of_type(PairFinished)) == 3
    assert model.num_closed == 1


async def test_the_deadline_of_all_bounds_admission_too(observer: RecordingObserver) -> None:
    with pytest.raises(DeadlineExceeded):
        await score_all(SlowToAdmit(), [PAIR] * 2, ScoreOptions(deadline_s=0.005), caller_of(observer))

    assert [event.outcome for event in observer.of_type(PairFinished)] == ["deadline"] * 2


class Refusing(FakeServedModel):
    """Has no room."""

    async def submit(self, *args: object) -> FakeStream:
        raise Overloaded("no room", retry_after_s=1)


async def test_a_request_that_was_refused_reports_no_pair(observer: RecordingObserver) -> None:
    with pytest.raises(Overloaded):
        await score_all(Refusing(), [PAIR], ScoreOptions(), caller_of(observer))

    assert observer.of_type(PairFinished) == []
