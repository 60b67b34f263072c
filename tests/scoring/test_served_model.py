"""From admitted pairs to outcomes, over the fake engine and an encoder that takes ids as they are."""

import asyncio
import time
from contextlib import aclosing, asynccontextmanager

import pytest

from service.dispatch.dispatcher import Dispatcher
from service.dispatch.engine_thread import EngineThread
from service.engine.fake import FakeEngine, fake_score
from service.errors import ModelNotReady, Overloaded, TooLong
from service.scheduling.admission import Admission, QueueLimits
from service.scheduling.batcher import FrameLimits
from service.scoring.served_model import GoldenPair, LoadedModel, Parts
from service.tokenization.pool import SLICE_CHARS, TokenizerPool, slice_pairs
from service.types import (
    Conversation,
    Fingerprint,
    Message,
    ModelCard,
    ModelId,
    Priority,
    ScoreOptions,
    TokenIds,
    Truncation,
)
from tests.dispatch.conftest import Gate
from tests.pairs import encoded

MAX_TOKENS = 50
GOLDEN = Conversation((Message("user", "hi"),), "hello")


class PlainEncoder:
    """Takes ids as they are; text becomes its characters' code points; more than MAX_TOKENS is too long."""

    def upper_bound_tokens(self, pair):
        return 2 * MAX_TOKENS

    def encode_many(self, pairs, truncation):
        return [self._encode(pair) for pair in pairs]

    def _encode(self, pair):
        if isinstance(pair, Conversation):
            pair = TokenIds(tuple(map(ord, pair.prompt[0].content)), tuple(map(ord, pair.response)))
        if 9999 in pair.prompt_ids:
            raise RuntimeError("the tokenizer crashed")
        if len(pair.prompt_ids) + len(pair.response_ids) > MAX_TOKENS:
            return TooLong(f"given {len(pair.prompt_ids)}, allowed {MAX_TOKENS}")
        return encoded(pair.prompt_ids, pair.response_ids)


def golden_score():
    return fake_score([*map(ord, "hi"), *map(ord, "hello")])


@asynccontextmanager
async def serving(on_run=None, limits=None, golden_value=None, default_timeout_s=10.0, park_s=0.0):
    engine = EngineThread(FakeEngine(max_frame_tokens=100, on_run=on_run))
    dispatcher = Dispatcher(engine, FrameLimits(100))
    dispatcher.start()
    parts = Parts(
        pool=TokenizerPool(PlainEncoder(), num_threads=2),
        admission=Admission(limits or QueueLimits(10**6, 10**4)),
        dispatcher=dispatcher,
        engine=engine,
    )
    card = ModelCard(ModelId("fake"), Fingerprint("sha256:0"), MAX_TOKENS, "head", "readout", 0, engine.info())
    score = golden_score() if golden_value is None else golden_value
    golden = [GoldenPair("greeting", GOLDEN, score, tolerance=0.0)]
    model = LoadedModel(card, parts, golden, default_timeout_s=default_timeout_s, park_s=park_s)
    await model.start()
    try:
        yield model, parts
    finally:
        await model.close()


async def collect(model, pairs, **options):
    stream = await model.submit(pairs, ScoreOptions(**options))
    return sorted([outcome async for outcome in stream], key=lambda outcome: outcome.index)


def ids(number, length=5):
    return TokenIds((number,) * length, (number + 1,))


async def test_each_pair_gets_its_score_or_its_error_and_spoils_no_other():
    async with serving() as (model, _):
        got = await collect(model, [ids(1), ids(2, length=60), ids(3)])

    assert [outcome.reward and outcome.reward.score for outcome in got] == [
        fake_score([1] * 5 + [2]),
        None,
        fake_score([3] * 5 + [4]),
    ]
    assert isinstance(got[1].error, TooLong)
    assert got[1].encoded is None


async def test_a_request_of_no_pairs_ends_at_once():
    async with serving() as (model, parts):
        assert await collect(model, []) == []
        assert parts.admission.num_pairs == 0


async def test_many_slices_come_back_complete():
    pairs = [ids(number, length=40) for number in range(4 * SLICE_CHARS // 40)]
    assert len(slice_pairs(pairs, SLICE_CHARS)) > 3
    async with serving() as (model, _):
        got = await collect(model, pairs)

    assert [outcome.reward.score for outcome in got] == [fake_score([n] * 40 + [n + 1]) for n in range(len(pairs))]


async def test_first_results_come_while_later_pairs_still_wait():
    gate = Gate()
    async with serving(gate) as (model, parts):
        stream = await model.submit([ids(number) for number in range(200)], ScoreOptions())
        await anext(stream)

        assert parts.dispatcher.num_waiting_pairs > 0
        await stream.aclose()


async def test_a_tokenizer_that_crashes_fails_its_slice_and_nobody_waits_for_ever():
    async with serving() as (model, parts):
        (bad,) = await collect(model, [ids(9999)])
        (good,) = await collect(model, [ids(1)])

        assert (bad.error.code, good.error) == ("engine_failure", None)
        assert "tokenizer" in bad.error.message
        assert (parts.admission.num_pairs, parts.admission.num_tokens) == (0, 0)


async def test_a_slice_that_crashes_fails_its_pairs_alone():
    pairs = [ids(9999 if number == 0 else number, length=40) for number in range(2 * SLICE_CHARS // 40)]
    (crashing, *_), *others = slice_pairs(pairs, SLICE_CHARS)
    assert crashing == 0
    assert others
    async with serving() as (model, _):
        got = await collect(model, pairs)

    scored = sorted(index for indices in others for index in indices)
    assert [outcome.index for outcome in got if outcome.reward is not None] == scored


async def test_room_is_given_back_however_a_request_ends():
    gate = Gate()
    async with serving(gate) as (model, parts):
        await collect(model, [ids(1), ids(2, length=60)])
        gate.shut()
        never_read = await model.submit([ids(n) for n in range(50)], ScoreOptions())
        half_read = await model.submit([ids(n) for n in range(50, 100)], ScoreOptions())
        await gate.wait_until_entered()
        gate.open()
        async with aclosing(half_read):
            await anext(half_read)
        await never_read.aclose()
        await never_read.aclose()

        assert (parts.admission.num_pairs, parts.admission.num_tokens) == (0, 0)
        assert parts.dispatcher.num_waiting_pairs == 0


async def test_a_full_queue_refuses_the_whole_request_and_keeps_nothing():
    gate = Gate()
    async with serving(gate, limits=QueueLimits(10**6, 3)) as (model, parts):
        gate.shut()
        stream = await model.submit([ids(1), ids(2)], ScoreOptions())

        with pytest.raises(Overloaded):
            await model.submit([ids(3), ids(4)], ScoreOptions())

        assert parts.admission.num_pairs == 2
        gate.open()
        assert len([outcome async for outcome in stream]) == 2


async def test_room_is_counted_by_real_tokens_once_they_are_known():
    gate = Gate()
    async with serving(gate) as (model, parts):
        gate.shut()
        stream = await model.submit([ids(1), ids(2)], ScoreOptions())
        assert parts.admission.num_tokens == 2 * 2 * MAX_TOKENS
        await gate.wait_until_entered()

        assert parts.admission.num_tokens == 2 * 6
        gate.open()
        await stream.aclose()


async def test_the_deadline_answers_every_pair_even_if_the_engine_hangs():
    gate = Gate()
    async with serving(gate) as (model, parts):
        gate.shut()
        began_s = time.monotonic()
        got = await collect(model, [ids(1), ids(2)], deadline_s=0.1)
        took_s = time.monotonic() - began_s
        gate.open()

        assert [outcome.error.code for outcome in got] == ["deadline", "deadline"]
        assert took_s < 5  # not a timing: the engine was still shut
        assert parts.admission.num_pairs == 0


async def test_a_pair_finished_before_the_deadline_keeps_its_score():
    async with serving() as (model, _):
        stream = await model.submit([ids(1)], ScoreOptions(deadline_s=0.3))
        await asyncio.sleep(0.4)

        assert (await anext(stream)).reward.score == fake_score([1] * 5 + [2])
        await stream.aclose()


async def test_a_caller_without_a_deadline_is_bounded_by_the_server():
    gate = Gate()
    async with serving(gate, default_timeout_s=0.1) as (model, _):
        gate.shut()
        (outcome,) = await collect(model, [ids(1)])
        gate.open()

    assert outcome.error.code == "deadline"


async def test_identical_pairs_of_one_request_are_computed_once():
    async with serving() as (model, _):
        got = await collect(model, [ids(1), ids(1), ids(1)])

    assert [outcome.computed_tokens for outcome in got] == [6, 0, 0]
    assert [outcome.is_duplicate for outcome in got] == [False, True, True]
    assert len({outcome.reward for outcome in got}) == 1


async def test_timings_come_with_every_outcome():
    async with serving() as (model, _):
        (outcome,) = await collect(model, [ids(1)], priority=Priority.BULK)

    assert outcome.timings.tokenize_s > 0
    assert outcome.timings.compute_s > 0


async def test_a_model_is_ready_once_its_golden_pairs_agree():
    async with serving() as (model, _):
        assert model.health().is_ready
        assert [check.is_ok for check in await model.verify()] == [True]


async def test_a_model_whose_golden_pair_differs_says_so_and_scores_nothing():
    async with serving(golden_value=99.0) as (model, _):
        assert "greeting" in model.health().reason
        assert "expected 99.0" in model.health().reason
        with pytest.raises(ModelNotReady):
            await model.submit([ids(1)], ScoreOptions())


async def test_a_closed_model_is_not_ready():
    async with serving() as (model, _):
        await model.close()

        assert not model.health().is_ready


async def test_preview_encodes_without_scoring():
    async with serving() as (model, parts):
        ran = len(parts.engine._engine.frames)
        good, bad = await model.preview([ids(1), ids(2, length=60)], Truncation.ERROR)

        assert good.ids == (1, 1, 1, 1, 1, 2)
        assert isinstance(bad, TooLong)
        assert len(parts.engine._engine.frames) == ran


async def test_a_dead_engine_is_told_at_once_and_for_good():
    def die(frame):
        if 9 in frame.token_ids:
            raise SystemExit(1)

    async with serving(on_run=die) as (model, parts):
        (killer,) = await collect(model, [ids(9)])
        health = model.health()

        assert killer.error.code == "engine_failure"
        assert (health.is_ready, health.is_final) == (False, True)
        assert "SystemExit" in health.reason
        with pytest.raises(ModelNotReady, match="the engine thread is not running"):
            await model.submit([ids(1)], ScoreOptions())
        assert parts.admission.num_pairs == parts.admission.num_tokens == 0


async def test_what_waits_can_be_cancelled_at_once_and_its_room_comes_back():
    gate = Gate()
    async with serving(on_run=gate) as (model, parts):
        gate.shut()
        stream = await model.submit([ids(1), ids(2)], ScoreOptions())
        await gate.wait_until_entered()
        model.cancel_all()
        outcomes = [outcome async for outcome in stream]
        gate.open()

        assert [outcome.error.code for outcome in outcomes] == ["cancelled", "cancelled"]
        assert parts.admission.num_pairs == parts.admission.num_tokens == 0


async def test_a_bulk_request_waits_for_room_and_an_interactive_one_is_refused():
    gate = Gate()
    async with serving(on_run=gate, limits=QueueLimits(10**6, 2), park_s=30.0) as (model, parts):
        gate.shut()
        first = await model.submit([ids(1), ids(2)], ScoreOptions())
        with pytest.raises(Overloaded):
            await model.submit([ids(3)], ScoreOptions())
        parked = asyncio.create_task(collect(model, [ids(4)], priority=Priority.BULK))
        await asyncio.sleep(0.01)
        assert not parked.done()
        gate.open()
        assert len([outcome async for outcome in first]) == 2
        (outcome,) = await parked

        assert outcome.reward.score == fake_score([4] * 5 + [5])
        assert parts.admission.num_pairs == parts.admission.num_tokens == 0
