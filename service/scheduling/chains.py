"""A pair as a chain of chunks, and where in the chain its head reads."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from service.types import EncodedPair


@dataclass(frozen=True, slots=True)
class Chunk:
    """One link of a pair's chain.

    Attributes:
        position: The position of its first token, counted from the start of the pair.
        sees_itself: False for a probe.
        is_read: Whether the pair this chunk was made for reads any of its rows; no part of its identity.
    """

    ids: tuple[int, ...]
    position: int
    sees_itself: bool = True
    is_read: bool = field(default=False, compare=False)

    @property
    def stop(self) -> int:
        """The position behind its last token."""
        return self.position + len(self.ids)

    @property
    def positions(self) -> range:
        """The positions of its tokens."""
        return range(self.position, self.stop)


@dataclass(frozen=True, slots=True)
class Read:
    """One row that is read: the link of the chain it lies in, and how far behind that link's first token."""

    link: int
    offset: int


def reads_of(pair: EncodedPair, explain: bool) -> tuple[Read, ...]:
    """The rows the head reads, in its order, then, where the pair is to be explained, its response tokens."""
    return tuple(_read(pair, position) for position in _positions_read(pair, explain))


def chunks_of(pair: EncodedPair, reads: Sequence[Read]) -> tuple[Chunk, ...]:
    """The pair's chain: its chunks in order, and its probe as a last chunk of one token."""
    read = {each.link for each in reads}
    bounds = (*pair.cuts, len(pair.ids))
    chain = [
        Chunk(pair.ids[start:stop], start, is_read=link in read) for link, (start, stop) in enumerate(pairwise(bounds))
    ]
    if pair.probe is not None:
        chain.append(Chunk((pair.probe.token_id,), pair.probe.position, sees_itself=False, is_read=True))
    return tuple(chain)


def _positions_read(pair: EncodedPair, explain: bool) -> Iterator[int]:
    yield from pair.reads
    if explain:
        yield from range(pair.prompt_tokens, len(pair.ids))


def _read(pair: EncodedPair, position: int) -> Read:
    if position == len(pair.ids):
        return Read(len(pair.cuts), 0)
    link = bisect_right(pair.cuts, position) - 1
    return Read(link, position - pair.cuts[link])
