"""What the HTTP edge knows of scoring: three verbs over plain values.

The edge translates bodies into `PairInput`s, calls these, and translates `PairOutcome`s back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.errors import InvalidInput
from service.types import (
    EncodedPair,
    GoldenCheck,
    Health,
    ModelCard,
    PairInput,
    PairOutcome,
    ScoreOptions,
    Truncation,
)


class OutcomeStream(Protocol):
    """One outcome for each admitted pair, as they finish. An async generator is one, but a generator that was
    never started runs nothing when it is closed: whoever admits before yielding needs a class of its own."""

    def __aiter__(self) -> OutcomeStream:
        """Returns itself."""

    async def __anext__(self) -> PairOutcome:
        """Waits for the next pair to finish."""

    async def aclose(self) -> None:
        """Cancels what has not been computed; harmless when called twice or after the end."""


class ServedModel(Protocol):
    """One loaded model, ready or on its way there."""

    @property
    def card(self) -> ModelCard:
        """What the model tells of itself."""

    def health(self) -> Health:
        """Whether it can score now; cheap, never blocks."""

    async def submit(self, pairs: Sequence[PairInput], options: ScoreOptions) -> OutcomeStream:
        """Admits all pairs of a request or refuses it; then yields one outcome a pair, as they finish.

        Closing the iterator early (`aclose`) cancels what has not been computed.

        Raises:
            Overloaded: If the waiting line has no room for them; nothing was kept.
            ModelNotReady: If the model cannot score now.
        """

    async def preview(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        """Renders, tokenizes and cuts without scoring: what `/v1/tokenize` shows."""

    def cancel_all(self) -> None:
        """Ends every pair admitted and not yet answered with `cancelled`; callable again."""

    async def verify(self) -> list[GoldenCheck]:
        """Scores the model's golden pairs now, through the real path."""
