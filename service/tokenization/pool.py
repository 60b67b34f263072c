"""`TokenizerPool`: encodes many pairs on worker threads while the event loop stays free.

A lone short pair is encoded at once, by whoever asks: handing it to a thread and back takes two wake-ups and leaves the
warm caches of a core behind. Any other request is cut into slices that keep the responses to one prompt together (its
prompt is rendered once), and keeps at most one slice for each thread in line, so that a small request never waits for
all of a big one. A free thread takes interactive slices before bulk ones (`slice_line`). Knows nothing of what encoding
does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from service.errors import InvalidInput
from service.tokenization.slice_line import SliceLine
from service.types import Conversation, EncodedPair, PairInput, Priority, RenderedText, TokenIds, Truncation

SLICE_CHARS = 16 * 1024
"""About 5 ms of one thread: long against handing it over, short for whoever waits until a thread is free."""

AT_ONCE_CHARS = 4 * 1024
"""The longest pair that is encoded on the event loop itself: about a millisecond, as the rest of its request."""

AT_ONCE_TURNS = 8
"""And the most turns of its prompt: a template may take some 10 us for each."""

Encoded: TypeAlias = "list[EncodedPair | InvalidInput]"


class Encodes(Protocol):
    """What the pool needs of a `PairEncoder`."""

    def encode_many(self, pairs: Sequence[PairInput], truncation: Truncation) -> Encoded:
        """Encodes each pair or says why not; called from several threads at once."""

    def upper_bound_tokens(self, pair: PairInput) -> int:
        """The most tokens that the pair can have; cheap."""


@dataclass(frozen=True, eq=False, slots=True)
class _Slice:
    """Pairs for one thread, and who waits for them."""

    pairs: Sequence[PairInput]
    truncation: Truncation
    future: asyncio.Future[Encoded]


class TokenizerPool:
    """Worker threads around one encoder; `close` it after the last call has returned."""

    def __init__(self, encoder: Encodes, num_threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts no thread yet.

        Args:
            encoder: Thread-safe.
            num_threads: The most threads to use, at least 1.
            clock: Any monotonic clock in seconds.
        """
        self._encoder = encoder
        self._num_threads = num_threads
        self._clock = clock
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix="tokenizer")
        self._line: SliceLine[_Slice] = SliceLine()
        self._num_running = 0

    def upper_bound_tokens(self, pair: PairInput) -> int:
        """The encoder's, at once and on the caller's thread."""
        return self._encoder.upper_bound_tokens(pair)

    def encode_at_once(self, pairs: Sequence[PairInput], truncation: Truncation) -> Encoded | None:
        """Encodes a lone short pair on the caller's thread; None for any other request."""
        if len(pairs) != 1 or _num_turns(pairs[0]) > AT_ONCE_TURNS or _num_chars(pairs[0]) > AT_ONCE_CHARS:
            return None
        return self._encoder.encode_many(pairs, truncation)

    async def encode_many(
        self, pairs: Sequence[PairInput], truncation: Truncation, priority: Priority = Priority.INTERACTIVE
    ) -> Encoded:
        """Encodes pairs on threads, replies in the order given; a cancelled call starts no further slice."""
        replies: dict[int, EncodedPair | InvalidInput] = {}
        async with contextlib.aclosing(self.encode_slices(pairs, truncation, priority)) as slices:
            async for indices, encoded in slices:
                if isinstance(encoded, Exception):
                    raise encoded
                replies.update(zip(indices, encoded, strict=True))
        return [replies[index] for index in range(len(pairs))]

    async def encode_slices(
        self, pairs: Sequence[PairInput], truncation: Truncation, priority: Priority
    ) -> AsyncGenerator[tuple[list[int], Encoded | Exception]]:
        """Encodes pairs on threads and yields what is done as it is done.

        Yields:
            Indices of some pairs, and their replies in that order or what the encoder raised. Close it when leaving
            before the end: no further slice is started then.
        """
        slices = deque(slice_pairs(pairs, SLICE_CHARS))
        running: dict[asyncio.Future[Encoded], list[int]] = {}
        finished: asyncio.Queue[asyncio.Future[Encoded]] = asyncio.Queue()

        def start() -> None:
            if slices:
                indices = slices.popleft()
                future = self._encode([pairs[index] for index in indices], truncation, priority)
                running[future] = indices
                future.add_done_callback(finish)

        def finish(future: asyncio.Future[Encoded]) -> None:
            if not future.cancelled():
                start()  # before the free thread looks for its next slice
            finished.put_nowait(future)

        for _ in range(self._num_threads):
            start()
        try:
            while running:
                future = await finished.get()
                error = future.exception()
                yield running.pop(future), error if isinstance(error, Exception) else future.result()
        finally:
            slices.clear()  # one of those that run may be done, and not have told of it yet
            for future in running:
                future.cancel()

    def close(self) -> None:
        """Ends the threads once what they are at is done; what waits is dropped."""
        while (waiting := self._line.take(self._clock())) is not None:
            waiting.future.cancel()
        self._executor.shutdown(wait=True)

    def _encode(
        self, pairs: Sequence[PairInput], truncation: Truncation, priority: Priority
    ) -> asyncio.Future[Encoded]:
        """Puts one slice in line, to be encoded when its turn has come."""
        waiting = _Slice(pairs, truncation, asyncio.get_running_loop().create_future())
        self._line.enqueue(waiting, priority, self._clock())
        self._begin()
        return waiting.future

    def _begin(self) -> None:
        """Gives every free thread a slice: the executor's own line, which knows no classes, stays empty."""
        while self._num_running < self._num_threads and (taken := self._line.take(self._clock())) is not None:
            if taken.future.done():  # its caller has been cancelled
                continue
            self._num_running += 1
            work = self._executor.submit(self._encoder.encode_many, taken.pairs, taken.truncation)
            work.add_done_callback(self._telling(taken))

    def _telling(self, taken: _Slice) -> Callable[[Future[Encoded]], None]:
        """What a thread calls when it has done a slice."""
        loop = taken.future.get_loop()

        def tell(work: Future[Encoded]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._finish, taken, work)

        return tell

    def _finish(self, taken: _Slice, work: Future[Encoded]) -> None:
        self._num_running -= 1
        if not taken.future.done():
            error = work.exception()
            if error is None:
                taken.future.set_result(work.result())
            else:
                taken.future.set_exception(error)
        # Not at once: the caller, woken by now, may first put its next slice in line.
        taken.future.get_loop().call_soon(self._begin)


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
            return sum([len(message.content) for message in pair.prompt]) + len(pair.response)
        case RenderedText():
            return len(pair.text)
        case TokenIds():
            return len(pair.prompt_ids) + len(pair.response_ids)


def _num_turns(pair: PairInput) -> int:
    return len(pair.prompt) if isinstance(pair, Conversation) else 0
