import asyncio
import random
import time

import pytest

from service.dispatch.ledger import Ticket
from service.engine.fake import FakeEngine, fake_score
from service.errors import Cancelled, DeadlineExceeded, EngineFailure, NonFinite, OutOfMemory
from service.types import Priority, Reward
from tests.dispatch.conftest import open_counter, replies
from tests.pairs import encoded, random_group


def score_of(pair):
    return fake_score(pair.ids)


async def test_every_pair_of_many_requests_gets_its_own_score():
    rng = random.Random(0)
    requests = [random_group(rng, rng.randint(1, 6)) for _ in range(50)]
    async with open_counter() as counter:
        tickets = [counter.ask(*pairs) for pairs in requests]
        for ticket, pairs in zip(tickets, requests, strict=True):
            scores = [reply.outcome.score for reply in await replies(ticket, len(pairs))]

            assert scores == [score_of(pair) for pair in pairs]


async def test_a_group_that_arrives_as_single_pairs_is_packed_together(gate):
    group = random_group(random.Random(1), 4)
    async with open_counter(gate) as counter:
        gate.shut()
        first = counter.ask(encoded([1], [2]))
        await gate.wait_until_entered()
        tickets = [counter.ask(pair) for pair in group]
        gate.open()
        await replies(first, 1)
        got = [(await replies(ticket, 1))[0] for ticket in tickets]

        assert counter.reports[1].num_pairs == 4
        assert got[0].computed_tokens == len(group[0].ids)
        assert all(reply.reused_tokens >= pair.prompt_tokens for reply, pair in zip(got[1:], group[1:], strict=True))


async def test_an_idle_engine_starts_at_once_with_a_lone_pair():
    async with open_counter() as counter:
        await replies(counter.ask(encoded([1], [2])), 1)
        await replies(counter.ask(encoded([1], [3])), 1)

        assert [report.num_pairs for report in counter.reports] == [1, 1]


async def test_a_whole_request_is_in_the_engine_before_it_is_awaited(gate):
    group = random_group(random.Random(2), 5)
    async with open_counter(gate, max_tokens=1000) as counter:
        gate.shut()
        ticket = Ticket(Priority.INTERACTIVE, 1e9)
        counter.dispatcher.enqueue_all(ticket, enumerate(group))

        assert counter.dispatcher.num_waiting_pairs == 0
        gate.open()
        assert [reply.outcome.score for reply in await replies(ticket, 5)] == [score_of(pair) for pair in group]
        assert [report.num_pairs for report in counter.reports] == [5]


async def test_a_request_that_comes_while_a_frame_runs_waits_with_others_for_its_end(gate):
    pairs = [encoded([number], [2]) for number in range(10, 14)]
    async with open_counter(gate) as counter:
        gate.shut()
        tickets = [Ticket(Priority.INTERACTIVE, 1e9) for _ in pairs]
        for ticket, pair in zip(tickets, pairs, strict=True):
            counter.dispatcher.enqueue_all(ticket, [(0, pair)])
        assert counter.dispatcher.num_waiting_pairs == 3
        gate.open()
        for ticket, pair in zip(tickets, pairs, strict=True):
            assert (await replies(ticket, 1))[0].outcome == Reward(score_of(pair))

        assert [report.num_pairs for report in counter.reports] == [1, 3]


async def test_the_next_frame_is_packed_while_one_runs_if_enough_waits_to_fill_it(gate):
    async with open_counter(gate, max_tokens=20) as counter:
        gate.shut()
        ticket = counter.ask(*(encoded([n] * 10, [n] * 10) for n in range(4)))
        await gate.wait_until_entered()
        await asyncio.sleep(0)

        assert counter.dispatcher.num_waiting_pairs == 2  # one runs, one is packed
        gate.open()
        await replies(ticket, 4)


async def test_where_frames_are_long_the_next_is_packed_shortly_before_the_end(gate):
    now_s = 0.0
    async with open_counter(gate, max_tokens=20, clock=lambda: now_s) as counter:
        gate.shut()
        first = counter.ask(encoded([1] * 10, [2] * 10))
        await gate.wait_until_entered()
        now_s = 1.0
        gate.open()
        await replies(first, 1)
        gate.shut()
        ticket = counter.ask(*(encoded([n] * 10, [n] * 10) for n in range(4)))
        await gate.wait_until_entered()
        await asyncio.sleep(0.01)

        assert counter.dispatcher.num_waiting_pairs == 3
        now_s = 1.95
        other = counter.ask(encoded([7] * 10, [8] * 10))
        await asyncio.sleep(0.01)

        assert counter.dispatcher.num_waiting_pairs == 3
        gate.open()
        await replies(ticket, 4)
        await replies(other, 1)


async def test_the_next_frame_is_packed_in_time_though_nobody_comes(gate):
    def take_a_while(frame):
        time.sleep(0.2)
        gate(frame)

    async with open_counter(take_a_while, max_tokens=20) as counter:
        await replies(counter.ask(encoded([1] * 10, [2] * 10)), 1)
        gate.shut()
        ticket = counter.ask(*(encoded([n] * 10, [n] * 10) for n in range(4)))
        while counter.dispatcher.num_waiting_pairs > 2:
            await asyncio.sleep(0.01)
        gate.open()
        await replies(ticket, 4)


async def test_with_little_waiting_packing_is_put_off_so_that_late_comers_get_in(gate):
    async with open_counter(gate) as counter:
        gate.shut()
        first = counter.ask(encoded([1], [2]))
        await gate.wait_until_entered()
        second = counter.ask(encoded([3], [4]))
        await asyncio.sleep(0.01)
        third = counter.ask(encoded([5], [6]))
        gate.open()
        for ticket in (first, second, third):
            await replies(ticket, 1)

        assert [report.num_pairs for report in counter.reports] == [1, 2]


async def test_identical_pairs_in_flight_are_computed_once_and_each_asker_is_answered(gate):
    pair = encoded([1, 2, 3], [4])
    async with open_counter(gate) as counter:
        gate.shut()
        tickets = [counter.ask(pair) for _ in range(5)]
        gate.open()
        got = [(await replies(ticket, 1))[0] for ticket in tickets]

    assert {reply.outcome.score for reply in got} == {score_of(pair)}
    assert [reply.computed_tokens for reply in got] == [4, 0, 0, 0, 0]
    assert [reply.is_duplicate for reply in got] == [False, True, True, True, True]
    assert sum(report.num_pairs for report in counter.reports) == 1


async def test_an_asker_who_leaves_does_not_take_the_shared_pair_along(gate):
    pair = encoded([1, 2, 3], [4])
    async with open_counter(gate) as counter:
        gate.shut()
        blocker = counter.ask(encoded([9], [9]))
        await gate.wait_until_entered()
        leaver, stayer = counter.ask(pair), counter.ask(pair)
        counter.dispatcher.close_ticket(leaver)
        gate.open()
        await replies(blocker, 1)

        assert (await replies(stayer, 1))[0].outcome == Reward(score_of(pair))
        assert leaver.replies.empty()


async def test_an_urgent_asker_does_not_wait_behind_an_identical_bulk_pair(gate):
    pair = encoded([1, 2, 3], [4])
    async with open_counter(gate) as counter:
        gate.shut()
        bulk = counter.ask(pair, priority=Priority.BULK)
        urgent = counter.ask(pair)

        assert counter.dispatcher.num_waiting_pairs == 2
        gate.open()
        await replies(bulk, 1)
        await replies(urgent, 1)


async def test_a_cancelled_pair_never_reaches_the_engine(gate):
    async with open_counter(gate) as counter:
        gate.shut()
        running = counter.ask(encoded([1], [2]))
        await gate.wait_until_entered()
        gone = counter.ask(encoded([3], [4]), encoded([5], [6]))
        counter.dispatcher.close_ticket(gone)
        gate.open()
        await replies(running, 1)

        assert counter.dispatcher.num_waiting_pairs == counter.dispatcher.num_waiting_tokens == 0
        assert gone.replies.empty()
        assert [frame.token_ids for frame in counter.engine.frames] == [(1, 2)]


async def test_a_ticket_closed_while_its_frame_runs_gets_no_reply(gate):
    async with open_counter(gate) as counter:
        gate.shut()
        ticket = counter.ask(encoded([1], [2]))
        await gate.wait_until_entered()
        counter.dispatcher.close_ticket(ticket)
        gate.open()
        await replies(counter.ask(encoded([3], [4])), 1)

        assert ticket.replies.empty()


async def test_a_pair_whose_deadline_has_passed_is_never_computed(gate):
    async with open_counter(gate) as counter:
        gate.shut()
        running = counter.ask(encoded([1], [2]))
        await gate.wait_until_entered()
        late = counter.ask(encoded([3], [4]), deadline_s=time.monotonic() - 1)
        gate.open()
        await replies(running, 1)

        assert isinstance((await replies(late, 1))[0].outcome, DeadlineExceeded)
        assert len(counter.engine.frames) == 1


@pytest.mark.parametrize("error", [OutOfMemory("no room"), RuntimeError("boom")], ids=["known", "unknown"])
async def test_a_failed_frame_fails_its_pairs_and_no_others(error):
    def fail_on_nines(frame):
        if 9 in frame.token_ids:
            raise error

    async with open_counter(fail_on_nines) as counter:
        (bad,) = await replies(counter.ask(encoded([9], [9])), 1)
        (good,) = await replies(counter.ask(encoded([1], [2])), 1)

    assert isinstance(bad.outcome, OutOfMemory if isinstance(error, OutOfMemory) else EngineFailure)
    assert good.outcome == Reward(fake_score([1, 2]))
    assert [report.outcome for report in counter.reports] == [bad.outcome.code, "ok"]


async def test_a_reward_that_is_not_finite_is_an_error_and_never_a_number():
    class NanEngine(FakeEngine):
        def run(self, frame):
            return tuple(Reward(float("nan") if frame.token_ids[0] == 9 else 1.0) for _ in range(frame.num_pairs))

    async with open_counter(engine=NanEngine(), cache_pairs=10) as counter:
        bad = await replies(counter.ask(encoded([9], [2])), 1) + await replies(counter.ask(encoded([9], [2])), 1)
        (good,) = await replies(counter.ask(encoded([1], [2])), 1)

    assert [type(reply.outcome) for reply in bad] == [NonFinite, NonFinite]
    assert good.outcome == Reward(1.0)


async def test_closing_answers_everyone_who_still_waits(gate):
    async with open_counter(gate) as counter:
        gate.shut()
        running = counter.ask(encoded([1], [2]))
        await gate.wait_until_entered()
        waiting = counter.ask(encoded([3], [4]))
        closing = asyncio.create_task(counter.dispatcher.close())
        await asyncio.sleep(0.01)
        gate.open()
        await closing

        assert (await replies(running, 1))[0].outcome == Reward(fake_score([1, 2]))
        assert isinstance((await replies(waiting, 1))[0].outcome, Cancelled)
        assert not counter.dispatcher.is_alive


async def test_a_kept_score_costs_nothing_the_second_time():
    pairs = random_group(random.Random(3), 5)
    async with open_counter(cache_pairs=100) as counter:
        first = await replies(counter.ask(*pairs), 5)
        second = await replies(counter.ask(*pairs), 5)

    assert [reply.outcome for reply in second] == [reply.outcome for reply in first]
    assert sum(reply.computed_tokens for reply in second) == 0
    assert sum(report.num_pairs for report in counter.reports) == 5


async def test_a_full_cache_forgets_the_least_recently_used():
    a, b, c = (encoded([n], [n]) for n in (1, 2, 3))
    async with open_counter(cache_pairs=2) as counter:
        for pair in (a, b, a, c, a, b):
            await replies(counter.ask(pair), 1)

    assert [frame.token_ids[0] for frame in counter.engine.frames] == [1, 2, 3, 2]


async def test_an_explained_pair_is_not_answered_from_an_unexplained_one():
    pair = encoded([1, 2], [3, 4])
    async with open_counter(cache_pairs=10) as counter:
        await replies(counter.ask(pair), 1)
        (explained,) = await replies(counter.ask(pair, explain=True), 1)

    assert len(explained.outcome.token_values) == 2
    assert explained.outcome.score == score_of(pair)


@pytest.mark.parametrize("seed", range(5))
async def test_each_pair_gets_one_reply_whatever_is_asked_cancelled_or_fails(seed):
    rng = random.Random(seed)

    def fail_sometimes(frame):
        if rng.random() < 0.2:
            raise RuntimeError("now and then")

    async with open_counter(fail_sometimes) as counter:
        asked, left = [], []
        for _ in range(60):
            pairs = random_group(rng, rng.randint(1, 4), vocab_size=6, longest=8)
            ticket = counter.ask(*pairs, priority=rng.choice(list(Priority)))
            if rng.random() < 0.3:
                left.append(ticket)
                counter.dispatcher.close_ticket(ticket)
            else:
                asked.append((ticket, pairs))
            await asyncio.sleep(rng.choice([0, 0, 0.001]))
        for ticket, pairs in asked:
            for reply, pair in zip(await replies(ticket, len(pairs)), pairs, strict=True):
                assert reply.outcome == Reward(score_of(pair)) or isinstance(reply.outcome, EngineFailure)

        assert all(ticket.replies.empty() for ticket in left)


async def test_a_frame_that_does_not_fit_the_memory_is_tried_again_in_two_halves():
    pairs = [encoded([1, 2, 3], [number]) for number in range(10, 15)]

    def refuse_large(frame):
        if frame.num_pairs > 3:
            raise OutOfMemory("no room")

    async with open_counter(on_run=refuse_large) as counter:
        come = await replies(counter.ask(*pairs), len(pairs))

    assert [reply.outcome.score for reply in come] == [fake_score(pair.ids) for pair in pairs]
    assert [frame.num_pairs for frame in counter.engine.frames] == [3, 2]
    assert [(report.num_pairs, report.outcome) for report in counter.reports] == [
        (5, "out_of_memory"),
        (3, "ok"),
        (2, "ok"),
    ]


async def test_frames_are_halved_until_only_what_does_not_fit_alone_fails():
    greedy = 13

    def refuse(frame):
        if greedy in frame.token_ids:
            raise OutOfMemory("no room")

    pairs = [encoded([1, 2, 3], [number]) for number in range(10, 14)]
    async with open_counter(on_run=refuse) as counter:
        come = await replies(counter.ask(*pairs), len(pairs))

    (refused,) = [reply for reply in come if isinstance(reply.outcome, OutOfMemory)]
    assert refused.index == 3
    assert [reply.outcome.score for reply in come[:3]] == [fake_score(pair.ids) for pair in pairs[:3]]
    assert [report.num_pairs for report in counter.reports] == [4, 2, 2, 1, 1]
