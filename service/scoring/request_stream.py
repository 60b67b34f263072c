"""The life of one admitted request: encode it, put in line what is encoded, hand on what has finished.

A lone short pair is in line as soon as it is admitted. Of any other request the engine starts on what is tokenized
first while the rest still is. The request's deadline bounds every wait, so that a caller is answered even if the engine
hangs; what it holds of the queue's room is given back pair by pair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from service.dispatch.dispatcher import Dispatcher
from service.dispatch.ledger import Reply, Ticket
from service.dispatch.replies import Deadlines
from service.errors import DeadlineExceeded, EngineFailure, RewardServiceError
from service.scheduling.admission import Admission
from service.tokenization.pool import TokenizerPool
from service.types import EncodedPair, PairInput, PairOutcome, Reward, Timings, Truncation


@dataclass(slots=True)
class _Place:
    """What is known of one pair of the request so far."""

    held_tokens: int
    encoded: EncodedPair | None = None
    tokenize_s: float = 0.0
    is_done: bool = False


class RequestStream:
    """Yields one outcome for each pair, as they finish. `aclose` cancels what has not been computed."""

    def __init__(
        self,
        pool: TokenizerPool,
        dispatcher: Dispatcher,
        admission: Admission,
        wake_parked: Callable[[], None],
        ticket: Ticket,
        held_tokens: Sequence[int],
        deadlines: Deadlines,
        clock: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._dispatcher = dispatcher
        self._admission = admission
        self._wake_parked = wake_parked
        self._ticket = ticket
        self._deadlines = deadlines
        self._clock = clock
        self._started_s = clock()
        self._places = [_Place(tokens) for tokens in held_tokens]
        self._num_left = len(self._places)
        self._encoding: asyncio.Task[None] | None = None

    def start(self, pairs: Sequence[PairInput], truncation: Truncation) -> None:
        """Begins to encode, or does all of it if that is little; call once."""
        began_s = self._clock()
        encoded: Sequence[EncodedPair | RewardServiceError] | None
        try:
            encoded = self._pool.encode_at_once(pairs, truncation)
        except Exception as error:
            encoded = _failures(error, len(pairs))
        if encoded is None:
            self._encoding = asyncio.create_task(self._encode_all(pairs, truncation))
        else:
            self._place_all(range(len(pairs)), encoded, began_s)

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> PairOutcome:
        if not self._num_left:
            await self.aclose()
            raise StopAsyncIteration
        reply = await self._next_reply()
        self._num_left -= 1
        return self._outcome(reply)

    async def aclose(self) -> None:
        """Gives up what is not finished and returns all room held. Safe to call again."""
        if self._encoding is not None and not self._encoding.done():
            self._encoding.cancel()
        self._dispatcher.close_ticket(self._ticket)
        for place in self._places:
            self._release(place)

    async def _next_reply(self) -> Reply:
        """The next finished pair; past the deadline, the next unfinished one as an error."""
        replies = self._ticket.replies
        while True:
            if replies.empty():
                if self._clock() >= self._ticket.deadline_s:
                    return self._overdue()
                await self._wait()
            elif not self._places[(reply := replies.get_nowait()).index].is_done:
                return reply

    async def _wait(self) -> None:
        """Returns once a reply has come or the deadline has passed."""
        replies = self._ticket.replies
        self._deadlines.enter(replies, self._ticket.deadline_s)
        try:
            await replies.wait()
        finally:
            self._deadlines.leave(replies)

    def _overdue(self) -> Reply:
        index = next(index for index, place in enumerate(self._places) if not place.is_done)
        waited_s = self._clock() - self._started_s
        return Reply(index, DeadlineExceeded(f"the deadline passed after {waited_s:.3f} s; not scored"))

    async def _encode_all(self, pairs: Sequence[PairInput], truncation: Truncation) -> None:
        """Puts pairs in line as they are encoded. Whatever fails, every pair gets its reply."""
        slices = self._pool.encode_slices(pairs, truncation, self._ticket.priority)
        began_s = self._clock()
        left = set(range(len(pairs)))
        try:
            async with aclosing(slices):
                async for indices, encoded in slices:
                    results: Sequence[EncodedPair | RewardServiceError] = (
                        _failures(encoded, len(indices)) if isinstance(encoded, Exception) else encoded
                    )
                    self._place_all(indices, results, began_s)
                    left.difference_update(indices)
        except Exception as error:
            self._place_all(sorted(left), _failures(error, len(left)), began_s)

    def _place_all(
        self, indices: Sequence[int], encoded: Sequence[EncodedPair | RewardServiceError], began_s: float
    ) -> None:
        took_s = self._clock() - began_s
        self._dispatcher.enqueue_all(self._ticket, self._admitted(indices, encoded, took_s))

    def _admitted(
        self, indices: Sequence[int], encoded: Sequence[EncodedPair | RewardServiceError], tokenize_s: float
    ) -> Iterator[tuple[int, EncodedPair]]:
        """Encoded pairs by their indices, their room corrected to what they need; an error is its pair's reply."""
        ticket = self._ticket
        for index, result in zip(indices, encoded, strict=True):
            place = self._places[index]
            place.tokenize_s = tokenize_s
            if isinstance(result, RewardServiceError):
                ticket.replies.put_nowait(Reply(index, result))
                continue
            place.encoded = result
            self._admission.correct(place.held_tokens, len(result.ids), ticket.client)
            place.held_tokens = len(result.ids)
            yield index, result

    def _outcome(self, reply: Reply) -> PairOutcome:
        place = self._places[reply.index]
        self._release(place)
        self._admission.drain.note(place.held_tokens, self._clock())
        reward, error = (reply.outcome, None) if isinstance(reply.outcome, Reward) else (None, reply.outcome)
        return PairOutcome(
            index=reply.index,
            reward=reward,
            error=error,
            encoded=place.encoded,
            computed_tokens=reply.computed_tokens,
            reused_tokens=reply.reused_tokens if reward else 0,
            is_duplicate=reply.is_duplicate,
            timings=Timings(place.tokenize_s, reply.queue_s, reply.compute_s),
        )

    def _release(self, place: _Place) -> None:
        """Gives back a pair's room, once."""
        if not place.is_done:
            place.is_done = True
            self._admission.release(1, place.held_tokens, self._ticket.client)
            self._wake_parked()


def _failures(error: Exception, num: int) -> list[EngineFailure]:
    """The edge of the tokenizer: whatever it is, nobody may be left without a reply."""
    return [EngineFailure(f"the tokenizer failed: {type(error).__name__}: {error}")] * num
