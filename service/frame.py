"""A frame: what the scheduler hands to the engine, as plain integers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Store:
    """A chunk of a frame that the engine is to keep under a slot: keys and values, and hidden states if asked."""

    chunk: int
    slot: int
    keeps_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One forward pass as plain integers: C chunks laid end to end as one row of N tokens, no padding.

    A chunk attends to its ancestors (`parents` leads to them, and before the first of them come the kept chunks of
    `prefixes`) and causally to itself; the S pairs of the frame each read some rows of it.

    Attributes:
        token_ids: N token ids, chunk after chunk.
        position_ids: N positions, each counted from the start of its own pair.
        chunk_bounds: C + 1 offsets into the N tokens; chunk c is `[chunk_bounds[c], chunk_bounds[c + 1])`.
        parents: For each chunk the index of the chunk before it in its pair, or -1. A parent comes first.
        sees_itself: For each chunk whether its tokens attend to the chunk itself; False for probes.
        read_rows: Rows that are read, pair after pair: offsets into the N tokens, and from N on into the kept
            hidden states of `read_slots`, laid end to end.
        read_bounds: S + 1 offsets into `read_rows`, one span for each pair.
        read_counts: For each pair how many of its rows its readout reads, where further ones follow that are to
            be explained; empty where no pair of the frame has such.
        prefixes: For each chunk without a parent in the frame, the slots of its ancestors, root first; else empty.
        read_slots: Slots whose kept hidden states are read.
        stores: Chunks to keep. A slot stands for one chunk for ever.
        drops: Slots to free before the frame is run.
    """

    token_ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    chunk_bounds: tuple[int, ...]
    parents: tuple[int, ...]
    sees_itself: tuple[bool, ...]
    read_rows: tuple[int, ...]
    read_bounds: tuple[int, ...]
    read_counts: tuple[int, ...] = ()
    prefixes: tuple[tuple[int, ...], ...] = ()
    read_slots: tuple[int, ...] = ()
    stores: tuple[Store, ...] = ()
    drops: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens put through the model: real ones and probes, never padding."""
        return len(self.token_ids)

    @property
    def num_pairs(self) -> int:
        """How many pairs this frame answers."""
        return len(self.read_bounds) - 1
