"""Plain values that cross rooms: what a caller sends, what the engine reads, what comes back.

Standard library only, immutable, printable and comparable. Nothing here knows HTTP, torch or asyncio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

ModelId = NewType("ModelId", str)
"""A name a served model answers to."""

Fingerprint = NewType("Fingerprint", str)
"""`sha256:…` over weights, tokenizer, template, semantics and numeric mode: equal means equal scores."""


class Truncation(StrEnum):
    """What to do with a pair that is longer than the model takes. Never silent: see `truncated_tokens`."""

    ERROR = "error"
    PROMPT_LEFT = "prompt_left"
    RESPONSE_RIGHT = "response_right"
    MODEL = "model"


class Priority(StrEnum):
    """Who goes first when the engine is busy; ageing keeps either from starving."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is the template's word (`system`, `user`, `assistant`)."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt (one or more turns, the last not the assistant's) and the assistant's response to it."""

    prompt: tuple[Message, ...]
    response: str


@dataclass(frozen=True, slots=True)
class RenderedText:
    """A whole conversation already in the model's own template: its markers are control tokens."""

    text: str


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Token ids taken verbatim: no template, BOS or EOS is added."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


PairInput = Conversation | RenderedText | TokenIds
"""The three ways a pair may arrive."""


@dataclass(frozen=True, slots=True)
class Probe:
    """An extra token that is read but sees only what comes before it, never itself.

    Starling-RM-7B-alpha's published code reads the last slot of a row padded to 2,048: a pad token that
    attends to every real token and not to itself. One such token at position 2,047 gives the same value.
    """

    token_id: int
    position: int


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair as the engine will read it: integers only, a function of the text and the model's manifest.

    Attributes:
        ids: All T token ids of the pair, BOS to last.
        cuts: Starts of the pair's chunks, ascending, first 0; a function of `ids` alone.
        reads: Positions in `ids` whose hidden states the head reads, in the head's order;
            the value `len(ids)` stands for the probe.
        probe: The extra token, where the readout needs one.
        prompt_tokens: Tokens before the response begins.
        response_tokens: The rest, closing tokens of the turn included.
        truncated_tokens: How many tokens the truncation policy removed.
        ended: Whether given ids end with the model's end of turn; None for text.
        rendered: The rendered text, where the pair came as text.
    """

    ids: tuple[int, ...]
    cuts: tuple[int, ...]
    reads: tuple[int, ...]
    probe: Probe | None = None
    prompt_tokens: int = 0
    response_tokens: int = 0
    truncated_tokens: int = 0
    ended: bool | None = None
    rendered: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """One forward pass as plain integers: C chunks laid end to end as one row of N tokens, no padding.

    A chunk attends to its ancestors (`parents` leads to them) and causally to itself; the S pairs of the
    frame each read some rows of it.

    Attributes:
        token_ids: N token ids, chunk after chunk.
        position_ids: N positions, each counted from the start of its own pair.
        chunk_bounds: C + 1 offsets into the N tokens; chunk c is `[chunk_bounds[c], chunk_bounds[c + 1])`.
        parents: For each chunk the index of the chunk before it in its pair, or -1. A parent comes first.
        sees_itself: For each chunk whether its tokens attend to the chunk itself; False for probes.
        read_rows: Offsets into the N tokens that are read, pair after pair.
        read_bounds: S + 1 offsets into `read_rows`, one span for each pair.
    """

    token_ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    chunk_bounds: tuple[int, ...]
    parents: tuple[int, ...]
    sees_itself: tuple[bool, ...]
    read_rows: tuple[int, ...]
    read_bounds: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens put through the model: real ones and probes, never padding."""
        return len(self.token_ids)

    @property
    def num_pairs(self) -> int:
        """How many pairs this frame answers."""
        return len(self.read_bounds) - 1


@dataclass(frozen=True, slots=True)
class Reward:
    """What the engine says of one pair: raw fp32 values as the doubles that equal them, maybe not finite.

    Attributes:
        score: The pair's scalar reward, after the manifest's output transform.
        objectives: One value for each named objective of a multi-objective head, else empty.
        steps: One value for each step of a process model, else empty.
    """

    score: float
    objectives: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a pair's time went, in seconds; one value feeds bodies, headers and histograms."""

    tokenize_s: float = 0.0
    queue_s: float = 0.0
    compute_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine tells of itself, for `/v1/info` and the fingerprint.

    Attributes:
        device: `cpu`, `cuda:0`, ….
        device_name: Processor or accelerator model, as the system names it.
        numeric_mode: Everything besides weights and tokens that a score may depend on, as flat text pairs.
        max_frame_tokens: The most tokens one frame may hold.
        frame_sizes: Row counts a frame is filled up to, ascending; admitted by bit-equality with the largest.
        objectives: Names of a multi-objective head's outputs.
    """

    device: str
    device_name: str
    numeric_mode: dict[str, str]
    max_frame_tokens: int
    frame_sizes: tuple[int, ...] = ()
    objectives: tuple[str, ...] = ()
