"""Collaborators for tests of the HTTP edge: a served model that computes nothing, and a runtime around it.

A score depends on the pair alone, as the real one does; everything else (when a pair finishes, what fails, whether
the model is ready) is in the test's hands. Nothing here sleeps: pairs are held back by events.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from service.api.runtime import BuildRuntime, Progress, Runtime
from service.errors import BadText, Cancelled, EmptyPrompt, InvalidInput, ModelNotReady, RewardServiceError
from service.observability.observers import Observer
from service.settings import Settings
from service.types import (
    Conversation,
    EncodedPair,
    EngineInfo,
    Fingerprint,
    GoldenCheck,
    Health,
    ModelCard,
    ModelId,
    PairInput,
    PairOutcome,
    RenderedText,
    Reward,
    ScoreOptions,
    Timings,
    TokenIds,
    Truncation,
)

FAKE_TIMINGS = Timings(tokenize_s=0.001, queue_s=0.002, compute_s=0.004)


def fake_card(name: str = "demo", *, objectives: Sequence[str] = (), aliases: Sequence[str] = ()) -> ModelCard:
    """A card with every field filled."""
    return ModelCard(
        model_id=ModelId(name),
        fingerprint=Fingerprint(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"),
        max_tokens=4096,
        head="linear 192 -> 1",
        readout="last token",
        created_s=1_790_000_000,
        engine=EngineInfo("cpu", "fake", {"dtype": "float32"}, 2048, (512, 2048), tuple(objectives)),
        aliases=tuple(aliases),
        is_verified=True,
        details={"license": "apache-2.0"},
    )


def fake_encode(pair: PairInput) -> EncodedPair:
    """One token for each byte; raises what the real encoder would for texts that cannot be read."""
    if isinstance(pair, TokenIds):
        return _encoded(pair.prompt_ids, pair.response_ids, None, ended=bool(pair.response_ids))
    if isinstance(pair, RenderedText):
        return _encoded((), _bytes_of(pair.text), pair.text)
    prompt = "".join(f"{turn.role}: {turn.content}\n" for turn in pair.prompt)
    if not any(turn.content for turn in pair.prompt):
        raise EmptyPrompt("the prompt holds no text; allowed: at least one character")
    return _encoded(_bytes_of(prompt), _bytes_of(pair.response), prompt + pair.response)


def fake_score(pair: PairInput) -> float:
    """A function of the ids alone: an fp32 number between -4 and 4, as the double that equals it."""
    ids = fake_encode(pair).ids
    digest = hashlib.sha256(struct.pack(f"<{len(ids)}q", *ids)).digest()
    number = int.from_bytes(digest[:4], "little") / 2**29 - 4
    rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return rounded


@dataclass
class FakeServedModel:
    """A `ServedModel` that does what a test tells it to.

    Attributes:
        holds: Pairs, by index, that do not finish before their event is set.
        errors: Pairs, by index, that end in an error.
        scores: Pairs, by index, that get this score instead of the computed one.
        order: Indices in the order in which pairs finish; input order by default.
        refusal: What `submit` raises.
        submitted: What was submitted, with its options.
        num_closed: How many streams were closed before their end.
    """

    card: ModelCard = field(default_factory=fake_card)
    holds: Mapping[int, asyncio.Event] = field(default_factory=dict)
    errors: Mapping[int, RewardServiceError] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)
    order: Sequence[int] | None = None
    refusal: RewardServiceError | None = None
    not_ready_because: str = ""
    checks: Sequence[GoldenCheck] = (GoldenCheck("greeting", 1.5, 1.5, 1e-5),)
    submitted: list[tuple[list[PairInput], ScoreOptions]] = field(default_factory=list)
    num_closed: int = 0
    num_cancelled: int = 0

    def health(self) -> Health:
        """Ready unless the test gave a reason."""
        return Health(not self.not_ready_because, self.not_ready_because)

    async def submit(self, pairs: Sequence[PairInput], options: ScoreOptions) -> FakeStream:
        """Takes everything, or raises the refusal."""
        if self.not_ready_because:
            raise ModelNotReady(self.not_ready_because)
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append((list(pairs), options))
        order = range(len(pairs)) if self.order is None else self.order
        return FakeStream(self, pairs, order, options)

    async def preview(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        """Encodes one byte a token."""
        return [_encode_or_error(pair) for pair in pairs]

    def cancel_all(self) -> None:
        """Lets everything go that is held back, as an error."""
        self.num_cancelled += 1
        self.errors = {**self.errors, **{index: Cancelled("the server is shutting down") for index in self.holds}}
        for event in self.holds.values():
            event.set()

    async def verify(self) -> list[GoldenCheck]:
        """Gives the checks the test prepared."""
        return list(self.checks)

    def outcome(self, index: int, pair: PairInput, explain: bool) -> PairOutcome:
        """Scores one pair."""
        encoded = _encode_or_error(pair)
        error = encoded if isinstance(encoded, InvalidInput) else self.errors.get(index)
        if isinstance(encoded, InvalidInput) or error is not None:
            return PairOutcome(index, error=error, timings=FAKE_TIMINGS)
        score = self.scores[index] if index in self.scores else fake_score(pair)
        objectives = tuple(score + place for place, _ in enumerate(self.card.engine.objectives))
        values = tuple(float(place) for place in range(encoded.response_tokens)) if explain else ()
        return PairOutcome(
            index,
            reward=Reward(score, objectives, token_values=values),
            encoded=encoded,
            computed_tokens=len(encoded.ids),
            timings=FAKE_TIMINGS,
        )


class FakeStream:
    """The outcomes of one submitted request."""

    def __init__(
        self, model: FakeServedModel, pairs: Sequence[PairInput], order: Iterable[int], options: ScoreOptions
    ) -> None:
        self._model = model
        self._pairs = pairs
        self._left = deque(order)
        self._options = options

    def __aiter__(self) -> FakeStream:
        """Returns itself."""
        return self

    async def __anext__(self) -> PairOutcome:
        """Waits until the next pair is let go."""
        if not self._left:
            raise StopAsyncIteration
        index = self._left[0]
        if index in self._model.holds:
            await self._model.holds[index].wait()
        self._left.popleft()
        return self._model.outcome(index, self._pairs[index], self._options.explain)

    async def aclose(self) -> None:
        """Forgets what is left."""
        self._model.num_closed += bool(self._left)
        self._left.clear()


def building(*models: FakeServedModel, gate: asyncio.Event | None = None, log: list[str] | None = None) -> BuildRuntime:
    """Makes a `build_runtime` that waits for `gate` and notes in `log` what happens to it."""
    notes = log if log is not None else []

    def build(settings: Settings, observer: Observer, progress: Progress) -> AbstractAsyncContextManager[Runtime]:
        return _runtime(settings, observer, progress)

    @asynccontextmanager
    async def _runtime(settings: Settings, observer: Observer, progress: Progress) -> AsyncIterator[Runtime]:
        progress("loading weights")
        try:
            if gate is not None:
                await gate.wait()
            notes.append("built")
            yield Runtime({model.card.model_id: model for model in models}, settings)
        finally:
            notes.append("closed")

    return build


def conversation_of(pair: PairInput) -> Conversation:
    """Returns the pair as the conversation it is known to be."""
    assert isinstance(pair, Conversation)
    return pair


def _encode_or_error(pair: PairInput) -> EncodedPair | InvalidInput:
    try:
        return fake_encode(pair)
    except InvalidInput as error:
        return error


def _encoded(
    prompt: tuple[int, ...], response: tuple[int, ...], rendered: str | None, ended: bool | None = None
) -> EncodedPair:
    ids = prompt + response
    cuts = (0, len(prompt)) if 0 < len(prompt) < len(ids) else (0,)
    return EncodedPair(ids, cuts, (len(ids) - 1,), None, len(prompt), len(response), 0, ended, rendered)


def _bytes_of(text: str) -> tuple[int, ...]:
    try:
        return tuple(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BadText(f"the text holds a lone surrogate at {error.start}; allowed: valid Unicode") from error
