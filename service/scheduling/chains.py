"""A pair as a chain of chunks, and where in the chain its head reads."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Read:
    """One row that is read: the link of the chain it lies in, and how far behind that link's first token."""

    link: int
    offset: int


def reads_of(pair: EncodedPair, explain: bool) -> tuple[Read, ...]:
    """The rows the head reads, in its order, then, where the pair is to be explained, its response tokens."""
    reads = [_read(pair, position) for position in pair.reads]
    if explain:
        reads += [_read(pair, position) for position in range(pair.prompt_tokens, len(pair.ids))]
    return tuple(reads)


def chunks_of(pair: EncodedPair, reads: Sequence[Read]) -> tuple[Chunk, ...]:
    """The pair's chain: its chunks in order, and its probe as a last chunk of one token."""
    read = {each.link for each in reads}
    ids, chain = pair.ids, []
    for link, (start, stop) in enumerate(pairwise((*pair.cuts, len(ids)))):
        chain.append(Chunk(ids[start:stop], start, True, link in read))
    if pair.probe is not None:
        chain.append(Chunk((pair.probe.token_id,), pair.probe.position, sees_itself=False, is_read=True))
    return tuple(chain)


def _read(pair: EncodedPair, position: int) -> Read:
    if position == len(pair.ids):
        return Read(len(pair.cuts), 0)
    link = bisect_right(pair.cuts, position) - 1
    return Read(link, position - pair.cuts[link])
