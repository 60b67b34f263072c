"""A job is one admitted pair, as the scheduler sees it: integers, a class, a deadline, an identity.

The scheduler's rooms (`waiting_line`, `packing`, `batcher`, `admission`) hold decisions only: no clock, no
asyncio, no torch. Time is always an argument, in seconds of any one monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NewType

from service.scheduling.chains import Chunk, Read, chunks_of, reads_of
from service.types import EncodedPair, Priority

JobId = NewType("JobId", int)
"""Unique within one dispatcher, ascending in order of admission."""


@dataclass(frozen=True, slots=True)
class Job:
    """One admitted pair.

    Attributes:
        group: Equal for pairs that share their prompt's chunks; only ever used to choose an order, so that a
            collision costs nothing but a little sharing.
        deadline_s: When nobody waits for the answer any more.
        explain: Read every response token, too.
        client: Whose work it is; clients of one class take turns.
        chunks, reads: The pair's chain and the rows of it that are read, worked out once.
        num_tokens: The most tokens this job can add to a frame: its own and its probe.
    """

    job_id: JobId
    pair: EncodedPair
    priority: Priority
    arrived_s: float
    deadline_s: float
    group: int
    explain: bool = False
    client: str = ""
    reads: tuple[Read, ...] = field(init=False, repr=False, compare=False)
    chunks: tuple[Chunk, ...] = field(init=False, repr=False, compare=False)
    num_tokens: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Takes the pair apart."""
        pair = self.pair
        object.__setattr__(self, "reads", reads_of(pair, self.explain))
        object.__setattr__(self, "chunks", chunks_of(pair, self.reads))
        object.__setattr__(self, "num_tokens", len(pair.ids) + (pair.probe is not None))


def group_of(pair: EncodedPair) -> int:
    """The identity of the chunks that lie wholly inside the prompt: equal for responses to one prompt.

    A prompt without such a chunk shares nothing, and its group is that of the whole pair.
    """
    shared = pair.cuts[bisect_right(pair.cuts, pair.prompt_tokens) - 1]
    return hash(pair.ids[:shared] or pair.ids)
