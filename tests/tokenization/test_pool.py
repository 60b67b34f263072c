"""The pool answers in order, keeps groups together, and leaves the event loop free."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from service.ageing import BULK_PATIENCE_S
from service.errors import InvalidInput
from service.tokenization.pool import AT_ONCE_CHARS, AT_ONCE_TURNS, SLICE_CHARS, TokenizerPool, slice_pairs
from service.types import Conversation, EncodedPair, Message, PairInput, Priority, RenderedText, TokenIds, Truncation
from tests.tokenization import tiny_tokenizers as tiny

BULK = Priority.BULK


class GatedEncoder:
    """Waits in its thread until the gate opens; remembers what it was given."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.calls: list[list[PairInput]] = []

    def encode_many(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        assert self.gate.wait(60)
        self.calls.append(list(pairs))
        return [EncodedPair((len(self.calls),), (0,), (0,)) for _ in pairs]

    def upper_bound_tokens(self, pair: PairInput) -> int:
        return 7


class BrokenEncoder(GatedEncoder):
    def encode_many(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        raise RuntimeError("a fault of ours")


class MeetingEncoder(GatedEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.gate.set()
        self.barrier = threading.Barrier(2, timeout=60)

    def encode_many(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        self.barrier.wait()
        return super().encode_many(pairs, truncation)


async def test_replies_are_those_of_the_encoder_in_the_order_given(chatml: Path) -> None:
    encoder = tiny.encoder(chatml, max_tokens=4096)
    pairs: list[PairInput] = [tiny.say(f"Hello {number % 3} " + "tide " * 300, f"Hi {number}") for number in range(90)]
    pairs += [tiny.say(""), RenderedText("Hello"), TokenIds((5,), (6,))]
    pool = TokenizerPool(encoder, num_threads=2)

    replies = await pool.encode_many(pairs, Truncation.ERROR)
    pool.close()

    assert len(slice_pairs(pairs, SLICE_CHARS)) > 1
    expected = encoder.encode_many(pairs)
    assert [str(reply) for reply in replies] == [str(reply) for reply in expected]
    assert replies[:90] == expected[:90]


async def test_no_pairs_need_no_thread() -> None:
    pool = TokenizerPool(BrokenEncoder(), num_threads=1)

    assert await pool.encode_many([], Truncation.ERROR) == []
    pool.close()


def test_a_lone_short_pair_is_encoded_at_once_as_it_is_on_a_thread(chatml: Path) -> None:
    encoder = tiny.encoder(chatml, max_tokens=4096)
    pool = TokenizerPool(encoder, num_threads=1)
    for pair in (tiny.say("Hello"), tiny.say(""), RenderedText("Hello"), TokenIds((5,), (6,))):
        at_once = pool.encode_at_once([pair], Truncation.ERROR)
        assert at_once is not None
        assert [str(reply) for reply in at_once] == [str(reply) for reply in encoder.encode_many([pair])]
    pool.close()


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [tiny.say("Hello")] * 2,
        [tiny.say("x" * (AT_ONCE_CHARS + 1))],
        [TokenIds((1,) * AT_ONCE_CHARS, (2,))],
        [Conversation((Message("user", "x"),) * (AT_ONCE_TURNS + 1), "y")],
    ],
    ids=["none", "two", "long", "long as ids", "many turns"],
)
def test_what_would_hold_up_the_event_loop_is_left_to_the_threads(pairs: list[PairInput]) -> None:
    pool = TokenizerPool(BrokenEncoder(), num_threads=1)

    assert pool.encode_at_once(pairs, Truncation.ERROR) is None
    pool.close()


async def test_the_event_loop_runs_while_pairs_are_encoded() -> None:
    """The encoder is let go by the loop itself, so a blocked loop would never finish."""
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1)
    waiting = asyncio.create_task(pool.encode_many([tiny.say("Hello")], Truncation.ERROR))
    await asyncio.sleep(0)
    assert not waiting.done()

    encoder.gate.set()
    assert len(await waiting) == 1
    pool.close()


async def test_a_cancelled_call_starts_no_further_slice() -> None:
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1)
    big = "x" * (SLICE_CHARS + 1)
    waiting = asyncio.create_task(pool.encode_many([tiny.say(big + str(n)) for n in range(5)], Truncation.ERROR))
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    encoder.gate.set()
    pool.close()

    assert len(encoder.calls) <= 1


async def test_a_small_request_does_not_wait_for_all_of_a_big_one() -> None:
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1)
    big = [tiny.say("x" * (SLICE_CHARS + 1) + str(n)) for n in range(5)]
    small = [tiny.say("Hello")]
    calls = [asyncio.create_task(pool.encode_many(pairs, Truncation.ERROR)) for pairs in (big, small)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    encoder.gate.set()
    await asyncio.gather(*calls)
    pool.close()

    assert encoder.calls.index(list(small)) == 1


async def in_line(pool: TokenizerPool, *calls: tuple[str, int, Priority]) -> list[asyncio.Task[object]]:
    """Calls, each of a name and so many slices, put in line in this order."""
    tasks: list[asyncio.Task[object]] = []
    for name, num_slices, priority in calls:
        pairs = [tiny.say(f"{name}{number}" + "x" * (SLICE_CHARS + 1)) for number in range(num_slices)]
        tasks.append(asyncio.create_task(pool.encode_many(pairs, Truncation.ERROR, priority)))
        for _ in range(3):
            await asyncio.sleep(0)
    return tasks


def names(encoder: GatedEncoder) -> list[str]:
    """What was encoded, in order."""
    return [pair.prompt[0].content[:2] for call in encoder.calls for pair in call if isinstance(pair, Conversation)]


async def test_an_interactive_request_waits_for_no_bulk_slice_that_has_not_begun() -> None:
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1, clock=lambda: 0.0)
    bulk = [(name, 3, Priority.BULK) for name in "abcdefgh"]
    tasks = await in_line(pool, *bulk, ("I", 1, Priority.INTERACTIVE))

    encoder.gate.set()
    await asyncio.gather(*tasks)
    pool.close()

    assert names(encoder)[:2] == ["a0", "I0"]
    assert names(encoder)[2:9] == ["b0", "c0", "d0", "e0", "f0", "g0", "h0"]


async def test_bulk_that_was_passed_over_for_its_patience_goes_first_once() -> None:
    now = [0.0]
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1, clock=lambda: now[0])
    tasks = await in_line(pool, ("I", 3, Priority.INTERACTIVE), ("a", 2, Priority.BULK))
    now[0] = BULK_PATIENCE_S + 0.1

    encoder.gate.set()
    await asyncio.gather(*tasks)
    pool.close()

    assert names(encoder) == ["I0", "a0", "I1", "I2", "a1"]


async def test_a_call_cancelled_in_line_leaves_its_thread_to_the_next() -> None:
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1)
    running, gone, stays = await in_line(pool, *((name, 1, Priority.BULK) for name in "abc"))

    gone.cancel()
    running.cancel()
    await asyncio.wait({running, gone})
    encoder.gate.set()
    await stays
    pool.close()

    assert names(encoder) == ["a0", "c0"]


async def test_what_waits_when_the_pool_is_closed_is_dropped() -> None:
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1)
    _, waiting = await in_line(pool, ("a", 1, Priority.BULK), ("b", 1, Priority.BULK))

    encoder.gate.set()
    pool.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert names(encoder) == ["a0"]


async def test_slices_of_one_request_run_on_several_threads_at_once() -> None:
    """Each slice waits for another one: one after the other they would break the barrier."""
    encoder = MeetingEncoder()
    pool = TokenizerPool(encoder, num_threads=2)
    pairs = [tiny.say("x" * (SLICE_CHARS + 1) + str(number)) for number in range(4)]

    assert len(await pool.encode_many(pairs, Truncation.ERROR)) == 4
    pool.close()


async def test_what_is_encoded_first_does_not_wait_for_the_rest() -> None:
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1)
    slices = pool.encode_slices([tiny.say("x" * SLICE_CHARS + str(n)) for n in range(3)], Truncation.ERROR, BULK)

    first = asyncio.ensure_future(anext(slices))
    await asyncio.sleep(0)
    encoder.gate.set()
    indices, encoded = await first
    encoder.gate.clear()

    assert indices == [0]
    assert encoded == [EncodedPair((1,), (0,), (0,))]
    encoder.gate.set()
    assert [indices async for indices, _ in slices] == [[1], [2]]
    pool.close()


async def test_leaving_before_the_end_starts_no_further_slice() -> None:
    encoder = GatedEncoder()
    pool = TokenizerPool(encoder, num_threads=1)
    encoder.gate.set()
    async with aclosing(
        pool.encode_slices([tiny.say("x" * SLICE_CHARS + str(n)) for n in range(9)], Truncation.ERROR, BULK)
    ) as slices:
        await anext(slices)
    await asyncio.sleep(0.05)
    pool.close()

    assert len(encoder.calls) <= 3


async def test_a_slice_that_is_done_as_its_caller_leaves_starts_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells of its end only after the caller is gone."""
    futures: list[asyncio.Future[list[EncodedPair | InvalidInput]]] = []

    def begun(*_: object) -> asyncio.Future[list[EncodedPair | InvalidInput]]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    pool = TokenizerPool(GatedEncoder(), num_threads=1)
    monkeypatch.setattr(pool, "_encode", begun)
    slices = pool.encode_slices([tiny.say("x" * SLICE_CHARS + str(n)) for n in range(9)], Truncation.ERROR, BULK)
    first = asyncio.ensure_future(anext(slices))
    await asyncio.sleep(0)
    futures[0].set_result([])
    await first
    futures[1].set_result([])
    await slices.aclose()
    await asyncio.sleep(0)
    pool.close()

    assert len(futures) == 2


async def test_a_fault_of_ours_reaches_the_caller() -> None:
    pool = TokenizerPool(BrokenEncoder(), num_threads=1)

    with pytest.raises(RuntimeError, match="a fault of ours"):
        await pool.encode_many([tiny.say("Hello")], Truncation.ERROR)
    pool.close()


def test_the_bound_is_the_encoders() -> None:
    assert TokenizerPool(GatedEncoder(), num_threads=1).upper_bound_tokens(tiny.say("Hello")) == 7


def test_slices_keep_groups_together_wherever_their_pairs_stand() -> None:
    pairs: list[PairInput] = [
        tiny.say("a" * 5, "x"),
        tiny.say("b" * 5, "x"),
        tiny.say("a" * 5, "y"),
        RenderedText("c" * 3),
    ]

    assert slice_pairs(pairs, 12) == [[0, 2], [1, 3]]


def test_a_short_group_is_not_cut_where_a_slice_is_full() -> None:
    pairs = [tiny.say("c" * 5, "x" * 5), tiny.say("a" * 5, "x"), tiny.say("a" * 5, "y")]

    assert slice_pairs(pairs, 12) == [[0, 1, 2]]


def test_a_group_longer_than_a_slice_is_spread_over_several() -> None:
    pairs = [tiny.say("a" * 5, "x" * 5) for _ in range(5)]

    assert slice_pairs(pairs, 20) == [[0, 1], [2, 3], [4]]


def test_each_pair_is_in_exactly_one_slice() -> None:
    pairs = [tiny.say(str(number % 7), "x" * (number % 11)) for number in range(100)]

    assert sorted(index for part in slice_pairs(pairs, 30) for index in part) == list(range(100))
