"""Whatever an engine does, everyone who waits is told, and nobody is told a number that was not computed."""

import asyncio
import threading
import time

import pytest

from service.dispatch.engine_thread import EngineThread
from service.engine.fake import FakeEngine, fake_score
from service.errors import Cancelled, EngineFailure, NonFinite, OutOfMemory
from service.scheduling.packing import FrameBuilder
from service.types import Reward
from tests.dispatch.conftest import open_counter, replies
from tests.pairs import encoded, job

BAD = 9
"""A token whose frame misbehaves."""


def frame_of(pair):
    builder = FrameBuilder(100)
    builder.try_add(job(1, pair))
    return builder.build().frame


def failing(error):
    def on_run(frame):
        if BAD in frame.token_ids:
            raise error

    return on_run


async def test_a_memory_error_is_out_of_memory_and_is_tried_in_halves():
    pairs = [encoded([1, 2], [number]) for number in range(10, 14)]

    def refuse_large(frame):
        if frame.num_pairs > 2:
            raise MemoryError

    async with open_counter(on_run=refuse_large) as counter:
        come = await replies(counter.ask(*pairs), 4)
        (alone,) = await replies(counter.ask(encoded([1], [2])), 1)

    assert [reply.outcome for reply in come] == [Reward(fake_score(pair.ids)) for pair in pairs]
    assert alone.outcome == Reward(fake_score([1, 2]))


async def test_a_memory_error_for_a_lone_pair_is_its_own_error():
    async with open_counter(failing(MemoryError())) as counter:
        (bad,) = await replies(counter.ask(encoded([BAD], [1])), 1)
        (good,) = await replies(counter.ask(encoded([1], [2])), 1)

    assert isinstance(bad.outcome, OutOfMemory)
    assert good.outcome == Reward(fake_score([1, 2]))


async def test_one_pair_that_is_not_finite_spoils_no_other_of_its_frame():
    class HalfNan(FakeEngine):
        def run(self, frame):
            return (*FakeEngine.run(self, frame)[:-1], Reward(float("inf")))

    async with open_counter(engine=HalfNan()) as counter:
        good, bad = await replies(counter.ask(encoded([1], [2]), encoded([3], [4])), 2)

    assert good.outcome == Reward(fake_score([1, 2]))
    assert isinstance(bad.outcome, NonFinite)


async def test_an_engine_that_gives_too_few_rewards_gives_none():
    class Short(FakeEngine):
        def run(self, frame):
            return FakeEngine.run(self, frame)[:-1]

    async with open_counter(engine=Short()) as counter:
        come = await replies(counter.ask(encoded([1], [2]), encoded([3], [4])), 2)

    assert all(isinstance(reply.outcome, EngineFailure) for reply in come)
    assert "gave 1 rewards for 2 pairs" in come[0].outcome.message


async def test_a_reward_that_is_no_number_at_all_is_an_error():
    class Odd(FakeEngine):
        def run(self, frame):
            return tuple(Reward("one") for _ in range(frame.num_pairs))  # type: ignore[arg-type]

    async with open_counter(engine=Odd()) as counter:
        (come,) = await replies(counter.ask(encoded([1], [2])), 1)

    assert isinstance(come.outcome, EngineFailure)


async def test_an_observer_that_raises_costs_nobody_a_score():
    def raise_always(report):
        raise RuntimeError("an observer's own fault")

    async with open_counter(on_frame=raise_always) as counter:
        (come,) = await replies(counter.ask(encoded([1], [2])), 1)

    assert come.outcome == Reward(fake_score([1, 2]))


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=lambda error: repr(error))
async def test_an_engine_thread_that_dies_answers_everyone_and_is_not_alive(gate, error):
    def die(frame):
        gate(frame)
        if BAD in frame.token_ids:
            raise error

    async with open_counter(die) as counter:
        gate.shut()
        killer = counter.ask(encoded([BAD], [1]))
        await gate.wait_until_entered()
        waiting = counter.ask(*(encoded([number], [2]) for number in range(20, 40)))
        gate.open()
        come = await replies(killer, 1) + await replies(waiting, 20)

        assert all(isinstance(reply.outcome, EngineFailure) for reply in come)
        assert not counter.dispatcher.is_alive
        assert type(error).__name__ in counter.dispatcher.ended_because
        assert counter.dispatcher.num_waiting_pairs == 0
        (late,) = await replies(counter.ask(encoded([1], [2])), 1)
        assert isinstance(late.outcome, EngineFailure)


async def test_an_error_that_futures_cannot_carry_is_an_error_all_the_same():
    async with open_counter(failing(StopIteration())) as counter:
        (bad,) = await replies(counter.ask(encoded([BAD], [1])), 1)
        (good,) = await replies(counter.ask(encoded([1], [2])), 1)

    assert isinstance(bad.outcome, EngineFailure)
    assert good.outcome == Reward(fake_score([1, 2]))


async def test_a_forward_that_never_returns_is_given_up_and_everyone_is_answered():
    never = threading.Event()
    async with open_counter(lambda frame: never.wait(), max_tokens=20, max_forward_s=0.05) as counter:
        ticket = counter.ask(*(encoded([number] * 10, [2] * 10) for number in range(5)))
        come = await replies(ticket, 5)

        assert all(isinstance(reply.outcome, EngineFailure) for reply in come)
        assert "max_forward_s" in come[0].outcome.message
        assert not counter.dispatcher.is_alive
    never.set()


async def test_one_timer_bounds_many_frames(monkeypatch):
    bound_s, bounds = 3600.0, []
    loop = asyncio.get_running_loop()
    make = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *args: bounds.append(args[0]) or make(*args))
    async with open_counter(max_forward_s=bound_s) as counter:
        for number in range(50):
            await replies(counter.ask(encoded([number], [2])), 1)

    assert bounds.count(bound_s) == 1


async def test_a_bound_that_passes_while_nothing_runs_ends_nothing():
    async with open_counter(max_forward_s=0.02) as counter:
        for number in range(3):
            (come,) = await replies(counter.ask(encoded([number], [2])), 1)
            await asyncio.sleep(0.05)

            assert come.outcome == Reward(fake_score([number, 2]))
        assert counter.dispatcher.is_alive


async def test_an_engine_that_refuses_a_frame_is_heard_at_a_later_turn():
    class Refusing(FakeEngine):
        def begin(self, frame):
            raise OutOfMemory("injected")

    thread, told = EngineThread(Refusing()), []
    thread.hand_over(None, told.append)  # type: ignore[arg-type]  # never read
    assert told == []
    await asyncio.sleep(0)

    assert [str(error) for error in told] == ["injected"]
    await thread.close()


async def test_a_frame_that_nobody_awaits_any_more_runs_to_its_end(gate):
    engine = FakeEngine(on_run=gate)
    thread = EngineThread(engine)
    gate.shut()
    left = asyncio.create_task(thread.run(frame_of(encoded([1], [2]))))
    await gate.wait_until_entered()
    left.cancel()
    gate.open()

    assert await thread.run(frame_of(encoded([3], [4]))) == (Reward(fake_score([3, 4])),)
    assert [frame.token_ids for frame in engine.frames] == [(1, 2), (3, 4)]
    await thread.close()


async def test_closing_does_not_wait_for_a_thread_that_is_stuck():
    never = threading.Event()
    engine = FakeEngine(on_run=lambda frame: never.wait())
    thread = EngineThread(engine, max_forward_s=0.05)
    with pytest.raises(EngineFailure, match="max_forward_s"):
        await thread.run(None)  # type: ignore[arg-type]  # never read: it is stuck before
    await thread.close()
    with pytest.raises(EngineFailure, match="not running"):
        await thread.run(None)  # type: ignore[arg-type]

    assert not engine.is_closed
    never.set()


async def test_waiting_behind_a_frame_does_not_count_as_running(gate):
    entered = threading.Semaphore(0)

    def slow(frame):
        entered.release()
        threading.Event().wait(0.06)

    async with open_counter(slow, max_tokens=20, max_forward_s=0.1) as counter:
        come = await replies(counter.ask(*(encoded([number] * 10, [2] * 10) for number in range(4))), 4)

    assert all(isinstance(reply.outcome, Reward) for reply in come)


async def test_a_dispatcher_that_fails_answers_everyone(gate):
    is_broken = False

    def clock():
        if is_broken:
            raise RuntimeError("no time")
        return time.monotonic()

    async with open_counter(gate, clock=clock) as counter:
        gate.shut()
        running = counter.ask(encoded([1], [2]))
        await gate.wait_until_entered()
        waiting = counter.ask(encoded([3], [4]))
        is_broken = True
        gate.open()
        (first,), (second,) = await replies(running, 1), await replies(waiting, 1)

        assert isinstance(second.outcome, EngineFailure)
        assert isinstance(first.outcome, EngineFailure)
        while counter.dispatcher.is_alive:  # until the frame that runs is done
            await asyncio.sleep(0)


async def test_everyone_can_be_told_at_once_that_the_server_stops(gate):
    async with open_counter(gate) as counter:
        gate.shut()
        running = counter.ask(encoded([1], [2]))
        await gate.wait_until_entered()
        waiting = counter.ask(encoded([3], [4]))
        counter.dispatcher.cancel_all()
        counter.dispatcher.cancel_all()
        (first,), (second,) = await replies(running, 1), await replies(waiting, 1)
        gate.open()
        await asyncio.sleep(0)

        assert isinstance(first.outcome, Cancelled)
        assert isinstance(second.outcome, Cancelled)
