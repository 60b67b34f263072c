"""Whether quantized weights still tell responses apart as the unquantized ones do: two figures, and their bounds.

A reward model is used for the order of responses to one prompt and for the margins between them, so these are compared
and scores are not: a shift that all responses share is harmless. Pure arithmetic; what is scored, and how, is decided
elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from service.errors import QuantizationRefused
from service.types import Conversation, Message

MIN_ORDER_AGREEMENT = 0.95
"""Least share of pairs of responses that keep their order. Close calls turn with any rounding, so it cannot be 1; where
one in twenty turns, best-of-n and a trainer's advantages are other ones."""

MAX_MARGIN_ERROR = 0.10
"""Largest mean error of a margin, as a part of the mean margin. A judgement: the demo
model, the only trained one that was measured, stays well below (docs/models.md)."""

MIN_MARGINS = 20
"""Fewer comparisons than this say too little: with 20, one turned order is the bound."""

DETAILS = ("order_agreement", "margin_error", "parity_texts")
"""What a quantized model's card says of how well it agrees with itself unquantized."""

TEXTS = Path(__file__).with_name("parity_texts.json")
"""Prompts with several responses each, good and bad: what is compared besides a model's golden pairs."""


def bundled_texts() -> tuple[Conversation, ...]:
    """The conversations of `TEXTS`, one for each response."""
    entries = json.loads(TEXTS.read_text(encoding="utf-8"))
    return tuple(
        Conversation((Message("user", entry["prompt"]),), response)
        for entry in entries
        for response in entry["responses"]
    )


@dataclass(frozen=True, slots=True)
class Parity:
    """How far quantized scores are from unquantized ones.

    Attributes:
        order_agreement: Of the pairs of responses to one prompt with unequal unquantized scores, the share whose order
            is the same after quantizing; one that has become a tie is not.
        margin_error: Mean absolute difference of the margins of all such pairs, over their mean absolute margin.
        num_margins: How many pairs were compared.
        num_responses: How many responses were scored.
    """

    order_agreement: float
    margin_error: float
    num_margins: int
    num_responses: int

    def describe(self) -> dict[str, str]:
        """Both figures with their bounds, for `/v1/info`, under the names of `DETAILS`."""
        words = (
            f"{self.order_agreement:.4f} (at least {MIN_ORDER_AGREEMENT:g})",
            f"{self.margin_error:.4f} (at most {MAX_MARGIN_ERROR:g})",
            f"{self.num_responses} responses, {self.num_margins} pairs of responses to one prompt",
        )
        return dict(zip(DETAILS, words, strict=True))

    def check(self, kind: str) -> None:
        """Refuses quantization that is out of bounds.

        Raises:
            QuantizationRefused: With both figures and both bounds, or because too little could be compared.
        """
        if self.num_margins < MIN_MARGINS:
            raise QuantizationRefused(
                f"quantization: {kind} cannot be judged, since only {self.num_margins} pairs of responses got unequal "
                f"scores (needed: {MIN_MARGINS}); allowed for this model: none",
                param="quantization",
            )
        # Written so that NaN is out of bounds.
        if not (self.order_agreement >= MIN_ORDER_AGREEMENT and self.margin_error <= MAX_MARGIN_ERROR):
            raise QuantizationRefused(
                f"quantization: {kind} changes what this model says. Order agreement is {self.order_agreement:.4f} "
                f"(allowed: at least {MIN_ORDER_AGREEMENT:g}) and margin error {self.margin_error:.4f} (allowed: at "
                f"most {MAX_MARGIN_ERROR:g}), over {self.num_margins} pairs of responses to one prompt; serve it "
                "with quantization none, or try the other kind",
                param="quantization",
            )


def compare(prompts: Sequence[Hashable], before: Sequence[float], after: Sequence[float]) -> Parity:
    """Compares scores with unquantized and with quantized weights.

    Args:
        prompts: For each response, what it answers; equal for responses to one prompt.
        before, after: The scores of the responses.

    Returns:
        Figures that are NaN if nothing could be compared, or a score is not finite.
    """
    margins = [
        (before[i] - before[j], after[i] - after[j]) for i, j in _pairs_of_one_prompt(prompts) if before[i] != before[j]
    ]
    num_kept = sum(math.copysign(1, old) * new > 0 for old, new in margins)
    size = math.fsum(abs(old) for old, _ in margins)
    error = math.fsum(abs(new - old) for old, new in margins)
    is_known = bool(margins) and all(map(math.isfinite, (*before, *after)))
    return Parity(
        order_agreement=num_kept / len(margins) if is_known else math.nan,
        margin_error=error / size if is_known else math.nan,
        num_margins=len(margins),
        num_responses=len(before),
    )


def _pairs_of_one_prompt(prompts: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    places: dict[Hashable, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(place)
    for group in places.values():
        yield from combinations(group, 2)
