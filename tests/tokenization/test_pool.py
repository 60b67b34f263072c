"""The pool answers in order, keeps groups together, and leaves the event loop free."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.errors import InvalidInput
from service.tokenization.pool import SLICE_CHARS, TokenizerPool, slice_pairs
from service.types import EncodedPair, PairInput, RenderedText, TokenIds, Truncation
from tests.tokenization import tiny_tokenizers as tiny


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


async def test_slices_of_one_request_run_on_several_threads_at_once() -> None:
    """Each slice waits for another one: one after the other they would break the barrier."""
    encoder = MeetingEncoder()
    pool = TokenizerPool(encoder, num_threads=2)
    pairs = [tiny.say("x" * (SLICE_CHARS + 1) + str(number)) for number in range(4)]

    assert len(await pool.encode_many(pairs, Truncation.ERROR)) == 4
    pool.close()


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
