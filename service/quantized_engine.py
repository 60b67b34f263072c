"""An engine whose backbone is quantized while it warms up, and refused if that changes what the model says.

Wraps the engine that runs frames. Its first frames score the parity texts with the weights as they were loaded; then
each linear layer is replaced in place, so that memory never holds more than the unquantized model and one layer; then
the engine warms up as any other does, and the same frames are scored once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from service.engine.protocol import Compute, Engine, Progress
from service.errors import QuantizationRefused
from service.frame import Frame
from service.scheduling.jobs import Job, JobId, group_of
from service.scheduling.packing import FrameBuilder
from service.scoring.parity import Parity, compare
from service.types import Conversation, EncodedPair, EngineInfo, Priority, Reward


class PreparableEngine(Engine, Protocol):
    """An engine that can run frames before it is warm."""

    def prepare(self) -> None:
        """Puts in place what frames need; nothing is checked yet. Harmless when called again."""


@dataclass(frozen=True, slots=True)
class ParityText:
    """A conversation to be scored before and after, as text and as ids."""

    conversation: Conversation
    pair: EncodedPair


class QuantizedEngine:
    """An `Engine` over quantized weights. Used as the engine it wraps."""

    def __init__(
        self, engine: PreparableEngine, kind: str, quantize: Callable[[], object], texts: Sequence[ParityText]
    ) -> None:
        """`quantize` turns the weights that `engine` runs into `kind` in place; a ValueError says why it cannot."""
        self._engine = engine
        self._kind = kind
        self._quantize = quantize
        self._texts = tuple(texts)
        self._shifts: dict[Conversation, float] = {}
        self._parity: Parity | None = None

    @property
    def parity(self) -> Parity:
        """How well quantized scores agree; known once the engine is warm."""
        if self._parity is None:
            raise AssertionError("parity is measured while the engine warms up")
        return self._parity

    @property
    def shifts(self) -> Mapping[Conversation, float]:
        """Quantized less unquantized score of each parity text; complete once the engine is warm."""
        return self._shifts

    def info(self) -> EngineInfo:
        """The engine's description, quantization in its numeric mode."""
        info = self._engine.info()
        return replace(info, numeric_mode=info.numeric_mode | {"quantization": f"{self._kind} weights, scaled by row"})

    def warm_up(self, progress: Progress) -> None:
        """Scores, quantizes, warms the engine up, scores again.

        Raises:
            QuantizationRefused: If the scores before and after are not alike enough, or a weight is not finite.
            EngineFailure: As the engine that is wrapped.
        """
        self._engine.prepare()
        texts = self._that_fit(self._texts)
        progress(f"scoring {len(texts)} texts before quantizing")
        before = dict(zip(texts, self._scores(texts), strict=True))
        progress(f"quantizing to {self._kind}")
        try:
            self._quantize()
        except ValueError as error:
            raise QuantizationRefused(f"quantization: {error}", param="quantization") from None
        self._engine.warm_up(progress)
        texts = self._that_fit(texts)  # frames may be smaller now
        after = dict(zip(texts, self._scores(texts), strict=True))
        self._parity = compare(
            [text.conversation.prompt for text in texts], [before[text] for text in texts], list(after.values())
        )
        self._parity.check(self._kind)
        self._shifts = {text.conversation: new - before[text] for text, new in after.items()}
        progress("; ".join(f"{name} {words}" for name, words in self._parity.describe().items()))

    @property
    def num_lanes(self) -> int:
        """As many as the engine that is wrapped."""
        return self._engine.num_lanes

    def begin(self, frame: Frame) -> Compute:
        """Takes a frame in."""
        return self._engine.begin(frame)

    def run(self, frame: Frame) -> tuple[Reward, ...]:
        """Computes one frame."""
        return self._engine.run(frame)

    def close(self) -> None:
        """Frees the device."""
        self._quantize = lambda: None  # it holds the weights
        self._engine.close()

    def _that_fit(self, texts: Sequence[ParityText]) -> list[ParityText]:
        budget_tokens = self._engine.info().max_frame_tokens
        return [text for text in texts if len(text.pair.ids) + (text.pair.probe is not None) <= budget_tokens]

    def _scores(self, texts: Sequence[ParityText]) -> list[float]:
        frames = _frames([text.pair for text in texts], self._engine.info().max_frame_tokens)
        return [reward.score for frame in frames for reward in self._engine.run(frame)]


def _frames(pairs: Sequence[EncodedPair], budget_tokens: int) -> Iterator[Frame]:
    """The pairs in order, in as few frames as that allows; each must fit a frame of its own."""
    builder = FrameBuilder(budget_tokens)
    for number, pair in enumerate(pairs):
        job = Job(JobId(number), pair, Priority.BULK, arrived_s=0.0, deadline_s=0.0, group=group_of(pair))
        if not builder.try_add(job):
            yield builder.build().frame
            builder = FrameBuilder(budget_tokens)
            builder.try_add(job)
    if not builder.is_empty:
        yield builder.build().frame
