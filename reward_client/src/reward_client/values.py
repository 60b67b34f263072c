"""Plain values: what callers give and what they get back.

Immutable and comparable; nothing here knows JSON or HTTP. A failed pair carries an error and no number:
its `score` is None, so that arithmetic on it fails loudly instead of training on an invented reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from reward_client.errors import PairFailed

Prompt = Union[str, Sequence[Mapping[str, Any]]]
"""Text (one user turn) or messages like `{"role": "user", "content": "Hi"}`, the last not the assistant's."""


@dataclass(frozen=True)
class Pair:
    """A prompt and the response to it, in one of three forms: text, token ids, or text already rendered.

    Attributes:
        prompt: Text or messages; needs `response`.
        response: The assistant turn that follows.
        prompt_ids: Token ids of the reward model, taken verbatim; need `response_ids`.
        response_ids: Token ids of the response.
        rendered: A whole conversation in the reward model's own template; alone.
        id: The caller's own name for the pair; comes back in its result.
    """

    prompt: Prompt | None = None
    response: str | None = None
    prompt_ids: Sequence[int] | None = None
    response_ids: Sequence[int] | None = None
    rendered: str | None = None
    id: str | None = None


PairLike = Union[Pair, tuple[Prompt, str], Mapping[str, Any]]
"""A `Pair`, a tuple `(prompt, response)`, or a mapping with the fields of `Pair`."""


@dataclass(frozen=True)
class PairError:
    """Why a pair has no score. `retryable` says whether sending it again later may help."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True)
class Result:
    """The one result of one pair: a score or an error, never both, never neither.

    Attributes:
        index: The pair's place in the input of the call.
        id: The caller's name for the pair.
        score: The raw reward; None if and only if there is an `error`.
        error: Why there is no score.
        prompt_tokens: Tokens before the response; None for a failed pair, as the next three.
        response_tokens: Tokens of the response, closing tokens of the turn included.
        truncated_tokens: Tokens that the truncation policy removed.
        ended: Whether given ids end with the model's end of turn; None for text.
        objectives: Value of each objective of a multi-objective model.
        members: Score of each member of an ensemble.
        steps: One value for each step of a process model.
        details: Every further field of the server's reply (`explain=True`, `normalize=…`), as it came.
    """

    index: int
    id: str | None = None
    score: float | None = None
    error: PairError | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    truncated_tokens: int | None = None
    ended: bool | None = None
    objectives: Mapping[str, float] = field(default_factory=dict)
    members: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[float, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """What the call cost, summed over its requests. Padding is never counted."""

    tokens: int = 0
    computed_tokens: int = 0
    reused_tokens: int = 0
    deduplicated_pairs: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens + other.tokens,
            self.computed_tokens + other.computed_tokens,
            self.reused_tokens + other.reused_tokens,
            self.deduplicated_pairs + other.deduplicated_pairs,
        )


@dataclass(frozen=True)
class ScoreReply:
    """Results in input order, exactly one for each pair.

    Attributes:
        results: One `Result` for each pair.
        model: The name of the model that scored; empty if no request was answered.
        fingerprint: What the scores depend on, as the server names it; equal means equal scores.
        fingerprints: All that were seen; more than one only with `allow_fingerprint_change=True`.
        usage: What the call cost.
    """

    results: tuple[Result, ...]
    model: str = ""
    fingerprint: str = ""
    fingerprints: tuple[str, ...] = ()
    usage: Usage = Usage()

    @property
    def failed(self) -> tuple[Result, ...]:
        """The results that carry an error."""
        return tuple(result for result in self.results if result.error is not None)

    @property
    def scores(self) -> list[float]:
        """All scores in input order.

        Raises:
            PairFailed: if any pair has no score.
        """
        if self.failed:
            raise PairFailed(self.failed, self)
        return [result.score for result in self.results if result.score is not None]


@dataclass(frozen=True)
class RankedResponse:
    """One response in its place. `rank` counts from 1; `score` is None only in a degraded reply."""

    index: int
    rank: int
    score: float | None
    response: str


@dataclass(frozen=True)
class RankReply:
    """Responses, best first; equal scores keep the input's order.

    Attributes:
        results: The ranked responses, at most `top_n`.
        best: Index of the best response in the input; None if there is none.
        margin: Best score minus second best; None for fewer than two scores.
        errors: Responses without a score; they are never ranked.
        degraded: True if the server could not be reached and `results` are in the input's order, unscored.
    """

    results: tuple[RankedResponse, ...]
    best: int | None = None
    margin: float | None = None
    errors: tuple[Result, ...] = ()
    degraded: bool = False
    model: str = ""
    fingerprint: str = ""
    usage: Usage = Usage()


@dataclass(frozen=True)
class ModelInfo:
    """A model that the server has loaded; `details` holds every further field of the server's reply."""

    id: str
    fingerprint: str | None = None
    max_tokens: int | None = None
    head: str | None = None
    readout: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tokenized:
    """How the server would read one pair: the dry run of `score`. Either `ids` or an `error`."""

    index: int
    id: str | None = None
    error: PairError | None = None
    rendered: str | None = None
    ids: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    truncated_tokens: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
