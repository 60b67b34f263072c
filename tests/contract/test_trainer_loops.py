"""Trainers' own retry loops against the app: passing faults end in the number, lasting ones in an error, none in 0."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from service.api.app import create_app
from service.errors import (
    BadText,
    Cancelled,
    DeadlineExceeded,
    EngineFailure,
    ModelNotReady,
    NonFinite,
    OutOfMemory,
    Overloaded,
    RewardServiceError,
    TooLong,
)
from service.settings import Settings
from tests.api.conftest import client_of
from tests.contract import trainer_loops as loops
from tests.contract.test_classify_and_rerank import CHATML, native
from tests.fakes import FakeServedModel, building

PROMPT, RESPONSE = "What is 2+2?", "It is 4."
PASSING = [Overloaded, ModelNotReady, EngineFailure, OutOfMemory, DeadlineExceeded, Cancelled]
LASTING = [TooLong, BadText, NonFinite]

LOOPS = {
    "verl, vLLM": lambda client, pause: loops.verl_vllm(client, CHATML, pause),
    "older verl": lambda client, pause: loops.verl_vllm(client, CHATML, pause, key="activation"),
    "verl, SGLang": lambda client, pause: loops.verl_sglang(client, CHATML, pause),
    "slime": lambda client, pause: loops.slime(client, PROMPT, RESPONSE, pause),
    "slime, messages": lambda client, pause: loops.slime(
        client, [{"role": "user", "content": PROMPT}], RESPONSE, pause
    ),
}


@dataclass
class FlakyModel(FakeServedModel):
    """Refuses as often as it has faults left, then scores."""

    faults: list[RewardServiceError] = field(default_factory=list)

    async def submit(self, pairs, options):
        if self.faults:
            raise self.faults.pop()
        return await super().submit(pairs, options)


class Pauses:
    """Takes note of how long a loop would have waited."""

    def __init__(self):
        self.taken_s = []

    async def __call__(self, seconds):
        self.taken_s.append(seconds)


@pytest.fixture
def pauses():
    return Pauses()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", PASSING)
async def test_a_passing_fault_is_tried_again_until_the_number_comes(serve, pauses, loop, kind):
    model = FlakyModel(faults=[kind("not now") for _ in range(3)])
    async with serve(model) as client:
        score = await LOOPS[loop](client, pauses)
        assert score == await native(client)
    assert pauses.taken_s == [1, 2, 4]


@pytest.mark.parametrize("loop", [name for name in LOOPS if "verl" in name])
@pytest.mark.parametrize("kind", [TooLong, BadText])
async def test_verl_gives_up_at_once_on_what_cannot_be_scored(serve, pauses, loop, kind):
    async with serve(FakeServedModel(errors={0: kind("never")})) as client:
        with pytest.raises(loops.GaveUp, match="400"):
            await LOOPS[loop](client, pauses)
    assert pauses.taken_s == []


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", LASTING)
async def test_a_lasting_fault_ends_in_an_error_and_never_in_a_number(serve, pauses, loop, kind):
    async with serve(FakeServedModel(errors={0: kind("never")})) as client:
        with pytest.raises(loops.GaveUp):
            await LOOPS[loop](client, pauses)


async def test_a_server_that_never_recovers_is_asked_as_often_as_each_trainer_says(serve):
    for loop, tries in (("verl, vLLM", loops.VERL_TRIES), ("slime", loops.SLIME_TRIES)):
        pauses = Pauses()
        async with serve(FakeServedModel(refusal=Overloaded("full"))) as client:
            with pytest.raises(loops.GaveUp, match="503"):
                await LOOPS[loop](client, pauses)
        assert (len(pauses.taken_s), max(pauses.taken_s)) == (tries - 1, 30)


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_trainer_that_asks_while_the_weights_load_waits_and_gets_its_number(loop):
    gate, taken_s = asyncio.Event(), []
    app = create_app(Settings(), building(FakeServedModel(), gate=gate))

    async def pause(seconds):
        taken_s.append(seconds)
        if len(taken_s) == 2:
            gate.set()
        while gate.is_set() and app.state.startup.health().reason.startswith("starting"):
            await asyncio.sleep(0)

    async with app.router.lifespan_context(app), client_of(app) as client:
        score = await LOOPS[loop](client, pause)
        assert score == await native(client)
    assert taken_s == [1, 2]


async def test_slime_reads_a_number_or_the_field_it_is_told(serve, pauses):
    async with serve() as client:
        number = await loops.slime(client, PROMPT, RESPONSE, pauses)
        answer = await loops.slime(client, PROMPT, RESPONSE, pauses, url="/slime?as=dict")
    assert type(number) is float
    assert answer["score"] == number


async def test_openrlhf_takes_rewards_scores_and_logs_of_one_sample(serve, pauses):
    async with serve() as client:
        sample = await loops.openrlhf_sample(client, CHATML, "cut off", pauses)
        expected = [await native(client)]
    assert sample["reward"] == sample["scores"] == expected
    assert sample["extra_logs"] == {"raw_reward": expected, "ended": [1.0]}  # numbers alone: they become tensors


@pytest.mark.parametrize("kind", PASSING)
async def test_openrlhf_gets_its_number_within_its_five_tries(serve, pauses, kind):
    async with serve(FlakyModel(faults=[kind("not now") for _ in range(4)])) as client:
        sample = await loops.openrlhf_sample(client, CHATML, "x", pauses)
        assert sample["reward"] == [await native(client)]
    assert pauses.taken_s == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", [*PASSING, *LASTING])
async def test_openrlhf_leaves_a_reward_unset_that_it_cannot_get(serve, pauses, kind):
    async with serve(FakeServedModel(errors={0: kind("never")})) as client:
        sample = await loops.openrlhf_sample(client, CHATML, "x", pauses)
    assert sample == {"reward": None, "scores": None, "extra_logs": {}}
    assert pauses.taken_s == [1] * 5


async def test_openrlhf_with_two_urls_and_one_query(serve, pauses):
    """The second URL gets empty lists, and must say 200."""
    async with serve() as client:
        first, second = await loops.openrlhf([client, client], [CHATML], [""], pauses)
        assert first["rewards"] == [await native(client)]
    assert (second["rewards"], second["scores"]) == ([], [])
    assert pauses.taken_s == []


async def test_openrlhf_before_0_10_wants_three_lists_of_a_whole_shard(serve, pauses):
    queries = [CHATML, CHATML.replace("4.", "5."), CHATML.replace("4.", "6.")]
    async with serve() as client:
        (reply,) = await loops.openrlhf([client], queries, ["", "", ""], pauses)
    lists = [reply["rewards"], reply["scores"], *reply["extra_logs"].values()]
    assert [len(values) for values in lists] == [3] * len(lists)
    assert {type(value) for values in lists for value in values} == {float}
    assert len(set(reply["rewards"])) == 3
