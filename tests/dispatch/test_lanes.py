"""An engine that runs several frames at once: the line feeds each, and one that fails fails no other."""

import asyncio
import threading

import pytest

from service.engine.fake import FakeEngine, fake_score
from service.errors import EngineFailure
from service.types import Reward
from tests.dispatch.conftest import open_counter, replies
from tests.pairs import encoded

BAD = 9


def pair(number):
    """Half a frame of `open_two`."""
    return encoded([number] * 5, [2] * 5)


def open_two(on_run, **more):
    """A dispatcher over an engine of two lanes, with frames of two pairs."""
    return open_counter(engine=FakeEngine(20, on_run=on_run, num_lanes=2), max_tokens=20, **more)


async def test_two_frames_are_inside_the_engine_at_once():
    both = threading.Barrier(2)

    async with open_two(lambda frame: both.wait(10)) as counter:
        pairs = [pair(number) for number in range(10, 18)]
        come = await replies(counter.ask(*pairs), 8)

    assert [reply.outcome for reply in come] == [Reward(fake_score(each.ids)) for each in pairs]


async def test_a_full_frame_starts_beside_one_that_runs_and_less_waits_while_that_may_soon_end(gate):
    """No pace is known yet, so the frame that runs counts as nearly done."""
    async with open_two(gate) as counter:
        gate.shut()
        first = counter.ask(pair(10))
        await gate.wait_until_entered()
        second = counter.ask(pair(11))
        await asyncio.sleep(0.02)
        assert counter.dispatcher.num_waiting_pairs == 1

        third = counter.ask(pair(12))
        while counter.dispatcher.num_waiting_pairs:
            await asyncio.sleep(0.001)
        gate.open()
        for ticket in (first, second, third):
            await replies(ticket, 1)

    assert [frame.num_pairs for frame in counter.engine.frames] in ([1, 2], [2, 1])


async def test_less_than_a_frame_starts_at_once_beside_one_that_takes_long():
    now_s, slow = 0.0, threading.Event()

    def run(frame):
        nonlocal now_s
        if BAD in frame.token_ids:
            slow.wait(10)
        now_s += 1.0

    async with open_two(run, clock=lambda: now_s) as counter:
        await replies(counter.ask(pair(10)), 1)
        long = counter.ask(pair(BAD))
        await asyncio.sleep(0.02)
        (short,) = await replies(counter.ask(pair(11)), 1)
        slow.set()
        await replies(long, 1)

    assert short.outcome == Reward(fake_score(pair(11).ids))


@pytest.mark.parametrize("error", [SystemExit(1), EngineFailure("injected")], ids=repr)
async def test_a_frame_that_fails_beside_another(gate, error):
    def run(frame):
        if BAD in frame.token_ids:
            raise error
        gate(frame)

    async with open_two(run) as counter:
        gate.shut()
        good = counter.ask(pair(10), pair(11))
        await gate.wait_until_entered()
        bad = counter.ask(pair(BAD), pair(12))
        failed = await replies(bad, 2)
        gate.open()
        come = await replies(good, 2)

    assert all(isinstance(reply.outcome, EngineFailure) for reply in failed)
    if isinstance(error, SystemExit):
        assert all(isinstance(reply.outcome, EngineFailure) for reply in come)
    else:
        assert [reply.outcome for reply in come] == [Reward(fake_score(pair(number).ids)) for number in (10, 11)]


async def test_all_that_an_ended_engine_had_is_told_at_one_turn_however_slowly_its_thread_goes_on(monkeypatch):
    """Else a frame that ran beside might still be rewarded, or not, as threads happen to be scheduled."""
    ends = threading.Barrier(4)

    def run(frame):
        ends.wait(10)
        if BAD in frame.token_ids:
            raise SystemExit(1)
        threading.Event().wait(0.2)

    def slowly(loop, *told, soon=asyncio.BaseEventLoop.call_soon_threadsafe):
        soon(loop, *told)
        threading.Event().wait(0.1)

    lanes = FakeEngine(20, on_run=run, num_lanes=4)
    async with open_counter(engine=lanes, max_tokens=20) as counter:
        tickets = [counter.ask(pair(number), pair(20 + number)) for number in (10, BAD, 11, 12)]
        monkeypatch.setattr(asyncio.SelectorEventLoop, "call_soon_threadsafe", slowly)
        come = [await replies(ticket, 2) for ticket in tickets]

    assert all(isinstance(reply.outcome, EngineFailure) for both in come for reply in both)


async def test_a_frame_that_hangs_beside_others_that_do_not_is_given_up():
    never = threading.Event()

    def run(frame):
        if BAD in frame.token_ids:
            never.wait()

    async with open_two(run, max_forward_s=0.1) as counter:
        stuck = counter.ask(pair(BAD), pair(12))
        while not stuck.replies.qsize():
            await asyncio.wait_for(counter.ask(pair(10), pair(11)).replies.get(), 10)
        come = await replies(stuck, 2)

        assert "max_forward_s" in come[0].outcome.message
        assert not counter.dispatcher.is_alive
    never.set()
