"""What happens to frames that rely on a frame that failed, and to pairs that come in parts."""

import asyncio

import pytest

from service.engine.fake import FakeEngine, fake_score
from service.errors import Cancelled, DeadlineExceeded, EngineFailure, OutOfMemory
from service.types import Reward
from tests.dispatch.conftest import open_counter, replies
from tests.pairs import encoded


class FailsOnce:
    """Raises on the frames whose numbers are given, after the gate has let them through."""

    def __init__(self, gate, *numbers, error=None):
        self.gate, self.numbers, self.error, self.count = gate, numbers, error or EngineFailure("injected"), 0

    def __call__(self, frame):
        self.gate(frame)
        self.count += 1
        if self.count in self.numbers:
            raise self.error


def group(size, prompt=(1, 2, 3, 4)):
    return [encoded(prompt, [100 + n] * 4) for n in range(size)]


async def test_eight_responses_that_arrive_as_eight_requests_pay_for_their_prompt_once():
    async with open_counter(kept_tokens=100) as counter:
        computed = 0
        for pair in group(8):
            (reply,) = await replies(counter.ask(pair), 1)
            assert reply.outcome.score == fake_score(pair.ids)
            computed += reply.computed_tokens

        assert computed == 4 + 8 * 4


@pytest.mark.parametrize("error", [EngineFailure("injected"), OutOfMemory("injected")])
async def test_a_frame_that_relied_on_a_failed_one_is_packed_again(gate, error):
    """The second frame is packed while the first, which was to store its prompt, runs and fails."""
    first, *rest = group(6)
    async with open_counter(FailsOnce(gate, 1, error=error), max_tokens=12, kept_tokens=100) as counter:
        gate.shut()
        failing = counter.ask(first)
        await gate.wait_until_entered()
        tickets = [counter.ask(pair) for pair in rest]
        await asyncio.sleep(0.05)
        gate.open()

        (reply,) = await replies(failing, 1)
        assert reply.outcome is error
        for ticket, pair in zip(tickets, rest, strict=True):
            (reply,) = await replies(ticket, 1)
            assert reply.outcome == Reward(fake_score(pair.ids))

        assert [report.outcome for report in counter.reports[:2]] == [error.code, "prefix_lost"]
        assert {report.outcome for report in counter.reports[2:]} == {"ok"}


async def test_a_pair_longer_than_a_frame_is_scored_and_charged_once():
    long = encoded(range(50), range(40), grid=8)
    async with open_counter(max_tokens=20, kept_tokens=100) as counter:
        (reply,) = await replies(counter.ask(long), 1)

        assert reply.outcome == Reward(fake_score(long.ids))
        assert (reply.computed_tokens, reply.reused_tokens) == (90, 0)


async def test_a_pair_whose_part_fails_gets_the_error_and_keeps_nothing(gate):
    long = encoded(range(50), range(40), grid=8)
    async with open_counter(FailsOnce(gate, 2), max_tokens=20, kept_tokens=100) as counter:
        (reply,) = await replies(counter.ask(long), 1)
        assert isinstance(reply.outcome, EngineFailure)

        (again,) = await replies(counter.ask(long), 1)
        assert again.outcome == Reward(fake_score(long.ids))


async def test_memory_that_runs_out_for_a_pair_and_a_part_costs_neither_its_score(gate):
    long, short = encoded(range(50), range(40), grid=8), encoded([7], [8])
    async with open_counter(FailsOnce(gate, 1, 2, error=OutOfMemory("x")), max_tokens=20, kept_tokens=100) as counter:
        gate.shut()
        counter.ask(encoded([5], [6]))
        await gate.wait_until_entered()
        tickets = counter.ask(short), counter.ask(long)
        gate.open()

        (reply,) = await replies(tickets[0], 1)
        assert reply.outcome == Reward(fake_score(short.ids))
        (reply,) = await replies(tickets[1], 1)
        assert reply.outcome == Reward(fake_score(long.ids))


async def test_a_pair_that_nobody_wants_any_more_keeps_nothing_between_its_parts(gate):
    long = encoded(range(50), range(40), grid=8)
    async with open_counter(gate, max_tokens=20, kept_tokens=90) as counter:
        gate.shut()
        ticket = counter.ask(long)
        await gate.wait_until_entered()
        counter.dispatcher.close_ticket(ticket)
        gate.open()

        other = encoded(range(100, 150), range(40), grid=8)
        (reply,) = await replies(counter.ask(other), 1)
        assert reply.outcome == Reward(fake_score(other.ids))


async def test_a_deadline_between_two_parts_is_an_error(gate):
    now = [0.0]
    long = encoded(range(50), range(40), grid=8)
    async with open_counter(gate, max_tokens=20, kept_tokens=90, clock=lambda: now[0]) as counter:
        gate.shut()
        ticket = counter.ask(long, deadline_s=5.0)
        await gate.wait_until_entered()
        now[0] = 6.0
        gate.open()

        (reply,) = await replies(ticket, 1)
        assert isinstance(reply.outcome, DeadlineExceeded)


async def test_closing_answers_a_pair_between_its_parts(gate):
    long = encoded(range(50), range(40), grid=8)
    engine = FakeEngine(on_run=gate)
    async with open_counter(engine=engine, max_tokens=20, kept_tokens=90) as counter:
        gate.shut()
        ticket = counter.ask(long)
        await gate.wait_until_entered()
        closing = asyncio.create_task(counter.dispatcher.close())
        await asyncio.sleep(0.01)
        gate.open()
        await closing

        (reply,) = await replies(ticket, 1)
        assert isinstance(reply.outcome, Cancelled)
