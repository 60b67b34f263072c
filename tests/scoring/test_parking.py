"""In front of a full queue: who waits, who is refused, and that no room is lost whatever becomes of them."""

import asyncio
import random

import pytest

from service.errors import Cancelled, Overloaded
from service.scheduling.admission import Admission, QueueLimits
from service.scoring.parking import ParkingLot


def full_lot(max_pairs=4, client="a"):
    admission = Admission(QueueLimits(10**6, max_pairs))
    admission.admit(max_pairs, 1, client)
    return admission, ParkingLot(admission)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_with_room_nobody_waits():
    admission = Admission(QueueLimits(100, 10))
    await ParkingLot(admission).admit(3, 30, "a", 0.0)

    assert (admission.num_pairs, admission.num_tokens) == (3, 30)


async def test_without_a_wait_a_full_queue_refuses_at_once():
    admission, lot = full_lot()
    with pytest.raises(Overloaded) as refused:
        await lot.admit(1, 1, "a", 0.0)

    assert refused.value.retry_after_s >= 1
    assert (admission.num_pairs, len(lot)) == (4, 0)


async def test_a_parked_request_is_admitted_when_room_comes_back():
    admission, lot = full_lot()
    waiting = asyncio.create_task(lot.admit(2, 2, "a", 60))
    await settle()
    admission.release(1, 0, "a")
    lot.wake()
    await settle()
    assert not waiting.done()
    admission.release(1, 0, "a")
    lot.wake()
    await waiting

    assert (admission.num_pairs, len(lot)) == (4, 0)


async def test_a_client_is_admitted_in_its_own_order_even_if_a_later_one_would_fit():
    admission, lot = full_lot()
    large = asyncio.create_task(lot.admit(3, 1, "a", 60))
    await settle()
    small = asyncio.create_task(lot.admit(1, 1, "a", 60))
    await settle()
    admission.release(1, 0, "a")
    lot.wake()
    await settle()
    assert not small.done()
    admission.release(3, 0, "a")
    lot.wake()
    await asyncio.gather(large, small)


async def test_past_its_wait_a_parked_request_is_refused_and_leaves_nothing_behind():
    admission, lot = full_lot()
    with pytest.raises(Overloaded):
        await lot.admit(1, 1, "a", 0.01)

    assert (admission.num_pairs, len(lot)) == (4, 0)
    admission.release(4, 1, "a")
    lot.wake()
    assert admission == Admission(admission.limits)


async def test_the_lot_holds_as_much_as_the_queue_and_no_more():
    _, lot = full_lot()
    waiting = [asyncio.create_task(lot.admit(1, 1, "a", 60)) for _ in range(4)]
    await settle()
    with pytest.raises(Overloaded):
        await lot.admit(1, 1, "a", 60)

    assert len(lot) == 4
    lot.turn_away(Cancelled("stopping"))
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, Cancelled) for error in ended)
    assert len(lot) == 0


@pytest.mark.parametrize("seed", range(5))
async def test_no_room_is_lost_whoever_leaves_and_whenever(seed):
    rng = random.Random(seed)
    admission = Admission(QueueLimits(100, 10))
    lot = ParkingLot(admission)

    async def visit(client):
        pairs = rng.randint(1, 4)
        await lot.admit(pairs, pairs * 5, client, rng.choice([0.0, 0.001, 1.0]))
        try:
            await asyncio.sleep(rng.choice([0, 0.001]))
        finally:
            admission.release(pairs, pairs * 5, client)
            lot.wake()

    visits = [asyncio.create_task(visit(rng.choice("abc"))) for _ in range(200)]
    for _ in range(60):
        await asyncio.sleep(0)
        rng.choice(visits).cancel()
    ended = await asyncio.gather(*visits, return_exceptions=True)

    assert {type(end) for end in ended} <= {type(None), Overloaded, asyncio.CancelledError}
    assert admission == Admission(QueueLimits(100, 10), drain=admission.drain)
    assert len(lot) == 0
