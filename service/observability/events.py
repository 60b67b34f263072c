"""What happened, as frozen values: the core states facts here and never knows who counts or prints them.

Each kind of event is emitted at one place: `RequestFinished` by the outermost middleware, `RequestRefused`
where an error becomes a whole reply, `PairFinished` by the edge's scoring call, `FrameRun` and `QueueOpened` by
the dispatcher. No event holds prompt or response text unless the operator asked for it (`log_text`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from service.types import FRAME_OK, ModelId, Timings

SCORED = "score"
"""The outcome of a pair that got a score; every other outcome is an error code."""


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """One HTTP request was answered, or its caller went away.

    Attributes:
        route: The route's template, such as `/v1/models/{name}`; `other` where nothing matched.
        status: The status sent; 499 where the caller left before a reply began.
        duration_s: From the first byte of the head to the last byte of the reply.
    """

    request_id: str
    run_id: str
    method: str
    route: str
    status: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A whole request was answered with an error; `reason` is the message it got."""

    request_id: str
    run_id: str
    route: str
    status: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class PairFinished:
    """One pair got its one reply.

    Attributes:
        outcome: `SCORED` or an error code.
        score: The raw score; None where there is none.
        rendered: The rendered text, only where the operator set `log_text`.
    """

    model: ModelId
    dialect: str
    run_id: str
    outcome: str
    score: float | None = None
    prompt_tokens: int = 0
    response_tokens: int = 0
    truncated_tokens: int = 0
    computed_tokens: int = 0
    reused_tokens: int = 0
    is_duplicate: bool = False
    ended: bool | None = None
    timings: Timings = field(default_factory=Timings)
    rendered: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FrameRun:
    """The engine ran one frame.

    Attributes:
        num_pairs: Pairs this frame answered.
        num_tokens: Real tokens and probes put through the model.
        num_rows: Rows the frame was filled up to; the difference to `num_tokens` is padding.
        duration_s: Wall time of the forward pass.
        outcome: `FRAME_OK`, `prefix_lost` (its pairs go again in another frame) or an error code.
    """

    model: ModelId
    num_pairs: int
    num_tokens: int
    num_rows: int
    duration_s: float
    outcome: str = FRAME_OK


@dataclass(frozen=True, slots=True)
class QueueOpened:
    """A model has a waiting line and a prefix cache from now on; the callables are cheap, and safe from any thread."""

    model: ModelId
    num_pairs: Callable[[], float]
    num_tokens: Callable[[], float]
    num_parked: Callable[[], float] = lambda: 0.0
    num_kept_tokens: Callable[[], float] = lambda: 0
    num_evicted_tokens: Callable[[], float] = lambda: 0


Event = RequestFinished | RequestRefused | PairFinished | FrameRun | QueueOpened
"""Everything an observer may be told."""
