"""A frame's replies reach every request whole, the first few at once, then a few at each turn of the loop."""

import asyncio

from service.dispatch.ledger import Reply, Ticket
from service.dispatch.outbox import A_TURN, Outbox
from service.types import Priority, Reward


def tickets(number: int) -> list[Ticket]:
    return [Ticket(Priority.BULK, deadline_s=1e9) for _ in range(number)]


def told(asked: list[Ticket]) -> list[int]:
    return [ticket.replies.qsize() for ticket in asked]


async def test_a_few_requests_are_told_at_a_turn_in_the_order_of_their_first_replies():
    outbox, asked = Outbox(), tickets(3 * A_TURN)
    for ticket in asked:
        outbox.put(ticket, Reply(0, Reward(1.0)))
    assert told(asked) == [0] * len(asked)

    outbox.send()
    for turn in range(1, 4):
        assert told(asked) == [1] * turn * A_TURN + [0] * (3 - turn) * A_TURN
        await asyncio.sleep(0)


async def test_replies_to_one_request_come_together_and_in_order():
    outbox, (many, one) = Outbox(), tickets(2)
    for index in range(100):
        outbox.put(many, Reply(index, Reward(float(index))))
        if index == 50:
            outbox.put(one, Reply(0, Reward(7.0)))
    outbox.send()

    assert [many.replies.get_nowait().index for _ in range(100)] == list(range(100))
    assert one.replies.get_nowait().outcome == Reward(7.0)


async def test_what_is_put_while_others_are_told_comes_after_them():
    outbox, asked = Outbox(), tickets(2 * A_TURN + 1)
    for ticket in asked[:-1]:
        outbox.put(ticket, Reply(0, Reward(1.0)))
    outbox.send()
    outbox.put(asked[-1], Reply(0, Reward(2.0)))
    outbox.send()
    assert told(asked) == [1] * A_TURN + [0] * (A_TURN + 1)
    await asyncio.sleep(0)
    assert told(asked) == [1] * 2 * A_TURN + [0]

    await asyncio.sleep(0)
    assert told(asked) == [1] * len(asked)
