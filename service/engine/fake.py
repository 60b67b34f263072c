"""An engine that computes nothing: the reward is a function of the pair's ids alone, in microseconds.

It ships with the product: everything above the engine is tested with it, and it shows by what it returns whether
packing put each pair's tokens where its chunks say. It walks each pair's chain as attention would.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from service.engine.protocol import Compute, PrefixLost, Progress
from service.frame import Frame
from service.types import EngineInfo, Reward

MAX_FRAME_TOKENS = 4096
"""As many as the shipped demo model takes."""


def fake_score(ids: Sequence[int]) -> float:
    """The fake reward of a token sequence: its CRC mapped to [-4, 4), exactly representable in fp32."""
    checksum = zlib.crc32(b"".join(struct.pack("<q", token) for token in ids))
    return (checksum >> 12) / 2**17 - 4.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """A kept chunk: the ids of its whole chain, and how many of them are its own."""

    chain: tuple[int, ...]
    num_own: int


@dataclass(slots=True)
class FakeEngine:
    """Rewards by checksum of what a pair's chain of chunks holds up to the row that is read.

    Attributes:
        on_run: Called with each frame before it is answered; may sleep or raise.
        num_lanes: How many frames may run at once; with more than one, they must not rely on one another.
    """

    max_frame_tokens: int = MAX_FRAME_TOKENS
    on_run: Callable[[Frame], None] | None = None
    frames: list[Frame] = field(default_factory=list)
    is_closed: bool = False
    num_lanes: int = 1
    _kept: dict[int, _Kept] = field(default_factory=dict)

    def info(self) -> EngineInfo:
        """An engine called `fake`, with a frame size but no device."""
        return EngineInfo(
            device="fake",
            device_name="fake",
            numeric_mode={"engine": "fake"},
            max_frame_tokens=self.max_frame_tokens,
            frame_sizes=(self.max_frame_tokens,),
        )

    def warm_up(self, progress: Progress) -> None:
        """Nothing to warm."""
        progress("fake engine ready")

    def begin(self, frame: Frame) -> Compute:
        """Nothing is done ahead."""
        return partial(self.run, frame)

    def run(self, frame: Frame) -> tuple[Reward, ...]:
        """Follows each pair's chain from the row read back to its root and scores the ids found on the way."""
        if self.on_run is not None:
            self.on_run(frame)
        self.frames.append(frame)
        for slot in frame.drops:
            self._kept.pop(slot, None)
        if missing := {slot for slots in (*frame.prefixes, frame.read_slots) for slot in slots} - self._kept.keys():
            raise PrefixLost(f"slots {sorted(missing)} hold nothing")
        for store in frame.stores:
            start, stop = frame.chunk_bounds[store.chunk : store.chunk + 2]
            self._kept[store.slot] = _Kept(self._chain(frame, stop - 1), stop - start)
        rewards = []
        counts: Sequence[int | None] = frame.read_counts or [None] * frame.num_pairs
        for (start, stop), count in zip(pairwise(frame.read_bounds), counts, strict=True):
            values = [fake_score(self._chain(frame, row)) for row in frame.read_rows[start:stop]]
            rewards.append(Reward(score=values[0], token_values=tuple(values[count or 1 :])))
        return tuple(rewards)

    def close(self) -> None:
        """Marks the engine closed."""
        self.is_closed = True

    def _chain(self, frame: Frame, row: int) -> tuple[int, ...]:
        """The ids that the token in a row may attend to, itself included, in the order of its pair."""
        if row >= frame.num_tokens:
            return self._kept_chain(frame, row - frame.num_tokens)
        chunk = max(index for index, start in enumerate(frame.chunk_bounds[:-1]) if start <= row)
        ids = frame.token_ids[frame.chunk_bounds[chunk] : row + 1]
        while (parent := frame.parents[chunk]) >= 0:
            ids = frame.token_ids[frame.chunk_bounds[parent] : frame.chunk_bounds[parent + 1]] + ids
            chunk = parent
        slots = frame.prefixes[chunk] if frame.prefixes else ()
        return self._kept[slots[-1]].chain + ids if slots else ids

    def _kept_chain(self, frame: Frame, offset: int) -> tuple[int, ...]:
        """The same for a kept row: chunks of `read_slots` lie end to end."""
        for slot in frame.read_slots:
            kept = self._kept[slot]
            if offset < kept.num_own:
                return kept.chain[: len(kept.chain) - kept.num_own + offset + 1]
            offset -= kept.num_own
        raise IndexError(f"no kept row {offset}")
