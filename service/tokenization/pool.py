"""`TokenizerPool`: encodes many pairs on worker threads while the event loop stays free.

A request is cut into slices that keep the responses to one prompt together (its prompt is rendered once), and
keeps at most one slice for each thread in line, so that a small request never waits for all of a big one.
Knows nothing of what encoding does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from service.errors import InvalidInput
from service.types import Conversation, EncodedPair, PairInput, RenderedText, TokenIds, Truncation

SLICE_CHARS = 64 * 1024
"""About 20 ms of one thread: long against handing it over, short for whoever waits behind it."""


class Encodes(Protocol):
    """What the pool needs of a `PairEncoder`."""

    def encode_many(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        """Encodes each pair or says why not; called from several threads at once."""

    def upper_bound_tokens(self, pair: PairInput) -> int:
        """The most tokens that the pair can have; cheap."""


class TokenizerPool:
    """Worker threads around one encoder; `close` it after the last call has returned."""

    def __init__(self, encoder: Encodes, num_threads: int) -> None:
        """Starts no thread yet.

        Args:
            encoder: Thread-safe.
            num_threads: The most threads to use, at least 1.
        """
        self._encoder = encoder
        self._num_threads = num_threads
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix="tokenizer")

    def upper_bound_tokens(self, pair: PairInput) -> int:
        """The encoder's, at once and on the caller's thread."""
        return self._encoder.upper_bound_tokens(pair)

    async def encode_many(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        """Encodes pairs, replies in the order given; a cancelled call starts no further slice."""
        slices = slice_pairs(pairs, SLICE_CHARS)
        replies: dict[int, EncodedPair | InvalidInput] = {}
        remaining = iter(slices)
        num_workers = min(self._num_threads, len(slices))
        await asyncio.gather(*(self._encode_slices(pairs, truncation, remaining, replies) for _ in range(num_workers)))
        return [replies[index] for index in range(len(pairs))]

    def close(self) -> None:
        """Ends the threads once what they are at is done; what waits is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _encode_slices(
        self,
        pairs: Sequence[PairInput],
        truncation: Truncation,
        remaining: Iterator[list[int]],
        replies: dict[int, EncodedPair | InvalidInput],
    ) -> None:
        loop = asyncio.get_running_loop()
        for indices in remaining:
            chosen = [pairs[index] for index in indices]
            encoded = await loop.run_in_executor(self._executor, self._encoder.encode_many, chosen, truncation)
            replies.update(zip(indices, encoded, strict=True))


def slice_pairs(pairs: Sequence[PairInput], slice_chars: int) -> list[list[int]]:
    """Cuts indices of pairs into slices of about `slice_chars` characters.

    A group, which is all pairs with the same prompt wherever they stand, stays whole; only one that is longer than
    a slice by itself is spread over several, so that more than one thread works on it.
    """
    groups: dict[object, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(pair.prompt if isinstance(pair, Conversation) else index, []).append(index)
    slices: list[list[int]] = []
    room_chars = 0
    for group in groups.values():
        group_chars = [_num_chars(pairs[index]) for index in group]
        is_long = sum(group_chars) > slice_chars
        for index, num_chars in zip(group, group_chars, strict=True):
            if room_chars <= 0 and (is_long or index == group[0]):
                slices.append([])
                room_chars = slice_chars
            slices[-1].append(index)
            room_chars -= num_chars
    return slices


def _num_chars(pair: PairInput) -> int:
    match pair:
        case Conversation():
            return sum(len(message.content) for message in pair.prompt) + len(pair.response)
        case RenderedText():
            return len(pair.text)
        case TokenIds():
            return len(pair.prompt_ids) + len(pair.response_ids)
