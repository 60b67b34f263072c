"""One reader waits for replies or its deadline, and one timer serves all readers."""

import asyncio

import pytest

from service.dispatch.replies import Deadlines, Replies


class CountingLoop:
    """Counts the timers that are made on the running loop."""

    def __init__(self, monkeypatch):
        loop, self.num_timers = asyncio.get_running_loop(), 0
        make = loop.call_later

        def call_later(*args):
            self.num_timers += 1
            return make(*args)

        monkeypatch.setattr(loop, "call_later", call_later)


async def waiting(replies, deadlines, ends_s):
    """What a reader does: enters, waits until woken, leaves."""
    deadlines.enter(replies, ends_s)
    try:
        await replies.wait()
    finally:
        deadlines.leave(replies)
    return replies.qsize()


async def test_a_reader_gets_what_has_come_and_what_comes_in_order():
    replies = Replies()
    replies.put_nowait(1)
    reader = asyncio.create_task(replies.get())
    assert await reader == 1

    reader = asyncio.create_task(replies.get())
    await asyncio.sleep(0)
    replies.wake()
    await asyncio.sleep(0)
    assert not reader.done(), "woken for nothing, it waits on"
    replies.put_nowait(2)
    replies.put_nowait(3)
    assert await reader == 2
    assert (replies.get_nowait(), replies.empty()) == (3, True)


async def test_a_reader_that_is_cancelled_loses_nothing():
    replies = Replies()
    reader = asyncio.create_task(replies.get())
    await asyncio.sleep(0)
    reader.cancel()
    replies.put_nowait(1)
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert await replies.get() == 1


async def test_whose_deadline_passes_is_woken_and_nobody_else(monkeypatch):
    now_s = 0.0
    counting, deadlines = CountingLoop(monkeypatch), Deadlines(lambda: now_s)
    readers = [asyncio.create_task(waiting(Replies(), deadlines, ends_s)) for ends_s in (0.02, 0.03, 1e9)]
    await asyncio.sleep(0)
    assert counting.num_timers == 1

    now_s = 0.025
    assert await readers[0] == 0
    assert not readers[1].done()
    now_s = 0.05
    assert await readers[1] == 0
    assert not readers[2].done()
    readers[2].cancel()


async def test_an_earlier_deadline_moves_the_timer():
    now_s = 0.0
    deadlines = Deadlines(lambda: now_s)
    late = asyncio.create_task(waiting(Replies(), deadlines, 1e6))
    await asyncio.sleep(0)
    soon = asyncio.create_task(waiting(Replies(), deadlines, 0.01))
    await asyncio.sleep(0)
    now_s = 0.5

    assert await asyncio.wait_for(soon, 10) == 0
    assert not late.done()
    late.cancel()


async def test_a_thousand_waits_that_are_answered_make_one_timer(monkeypatch):
    counting, deadlines = CountingLoop(monkeypatch), Deadlines(lambda: 0.0)
    for ends_s in range(60, 1060):
        replies = Replies()
        reader = asyncio.create_task(waiting(replies, deadlines, float(ends_s)))
        await asyncio.sleep(0)
        replies.put_nowait("done")
        assert await reader == 1

    assert counting.num_timers == 1
