"""Plain values that cross rooms: what a caller sends, what the engine reads, what comes back.

Standard library only, immutable, printable and comparable. Nothing here knows HTTP, torch or asyncio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType

from service.errors import RewardServiceError

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


FRAME_OK: Final = "ok"
"""The outcome of a frame that gave its pairs' rewards."""


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
class Reward:
    """What the engine says of one pair: raw fp32 values as the doubles that equal them, maybe not finite.

    Attributes:
        score: The pair's scalar reward, after the manifest's output transform.
        objectives: One value for each named objective of a multi-objective head, else empty.
        steps: One value for each step of a process model, else empty.
        token_values: The head's first output at each response token, where `explain` asked for it.
    """

    score: float
    objectives: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()
    token_values: tuple[float, ...] = ()


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


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How one request wants its pairs treated.

    Attributes:
        truncation: What to do with pairs that are too long.
        priority: Which queue class the pairs wait in.
        deadline_s: Seconds from now until nobody waits any more; None leaves the server's own bound.
        explain: Also return the values of every response token (`Reward.token_values`).
        run_id: The caller's tag for telemetry, from `X-Run-Id` or `?run=`.
        dialect: Which wire protocol the request came in by, for metrics.
        client: Who asks, for fair shares: told apart by key, else by address.
    """

    truncation: Truncation = Truncation.ERROR
    priority: Priority = Priority.INTERACTIVE
    deadline_s: float | None = None
    explain: bool = False
    run_id: str = ""
    dialect: str = "native"
    client: str = ""


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """The one reply to one pair of a request: a reward or an error, never both, never neither.

    Attributes:
        index: The pair's place in its request.
        reward: What the engine said, finite.
        error: Why there is no reward.
        encoded: What was read; None where encoding failed.
        computed_tokens: Real tokens put through the model for this pair; shared ones are charged once,
            to the first pair that needed them.
        reused_tokens: Tokens of this pair that another pair (or the cache) had already paid for.
        is_duplicate: Whether an identical pair in flight was computed instead of this one.
    """

    index: int
    reward: Reward | None = None
    error: RewardServiceError | None = None
    encoded: EncodedPair | None = None
    computed_tokens: int = 0
    reused_tokens: int = 0
    is_duplicate: bool = False
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a served model tells of itself on `/v1/models` and `/v1/info`.

    Attributes:
        model_id: The name it is served under; `aliases` are further names it answers to.
        max_tokens: The longest pair it reads, in tokens.
        head: The head in words, such as `linear 192 -> 1`.
        readout: Where the head reads, in words.
        created_s: When it was loaded, in Unix seconds.
        is_verified: Whether its manifest's layout is sourced and its golden pairs agreed at start-up.
        details: Everything else of the manifest worth showing, as flat text pairs.
    """

    model_id: ModelId
    fingerprint: Fingerprint
    max_tokens: int
    head: str
    readout: str
    created_s: int
    engine: EngineInfo
    aliases: tuple[str, ...] = ()
    is_verified: bool = False
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a model can score now, and if not, why not (in words for the body of `/readyz`).

    Attributes:
        is_final: Whether it will never be ready again, so that only a new process helps.
    """

    is_ready: bool
    reason: str = ""
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """One golden pair scored through the real path: what was expected, what came, what is allowed."""

    name: str
    expected: float
    actual: float | None
    tolerance: float
    error: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the score came and lies within the tolerance recorded for this dtype."""
        return self.actual is not None and abs(self.actual - self.expected) <= self.tolerance
