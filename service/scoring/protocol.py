"""What the HTTP edge knows of scoring: three verbs over plain values.

The edge translates bodies into `PairInput`s, calls these, and translates `PairOutcome`s back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
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


class ServedModel(Protocol):
    """One loaded model, ready or on its way there."""

    @property
    def card(self) -> ModelCard:
        """What the model tells of itself."""

    def health(self) -> Health:
        """Whether it can score now; cheap, never blocks."""

    async def submit(self, pairs: Sequence[PairInput], options: ScoreOptions) -> AsyncIterator[PairOutcome]:
        """Admits all pairs of a request or refuses it; then yields one outcome a pair, as they finish.

        Closing the iterator early (`aclose`) cancels what has not been computed.

        Raises:
            Overloaded: If the waiting line has no room for them; nothing was kept.
            ModelNotReady: If the model cannot score now.
        """

    async def preview(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        """Renders, tokenizes and cuts without scoring: what `/v1/tokenize` shows."""

    async def verify(self) -> list[GoldenCheck]:
        """Scores the model's golden pairs now, through the real path."""
