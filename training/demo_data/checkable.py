"""Questions whose answer can be computed from the prompt: lists, numbers, who has what, days, opposites.

Each kind is one function that draws a `Checkable`: the question, the right answer and wrong ones of the same
shape, so that only reading the prompt tells them apart. The kinds are in `kinds_train.py`, `kinds_lookup.py` (both
trained on) and `kinds_unseen.py`; here is what they share. Knows nothing of scores, tiers or how an answer is
dressed up.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from training.demo_data.lexicon import Lexicon

__all__ = ["DAYS", "MONTHS", "SEASONS", "THINGS", "Checkable", "Draw", "distinct", "listed", "near", "others"]

_INVENTED_SHARE = 0.2
"""Share of invented words among the things asked about; more would make every list unnatural."""
THINGS = ("tool", "animal", "food", "plant", "material")
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_FIRST_HALF = ["January", "February", "March", "April", "May", "June"]
MONTHS = [*_FIRST_HALF, "July", "August", "September", "October", "November", "December"]
SEASONS = ["spring", "summer", "autumn", "winter"]


@dataclass(frozen=True, slots=True)
class Checkable:
    """A question, its right answer and wrong answers of the same shape."""

    question: str
    right: str
    wrong: tuple[str, ...]


Draw = Callable[[random.Random, Lexicon], Checkable]


def distinct(rng: random.Random, lexicon: Lexicon, num_words: int, sort: str | None = None) -> list[str]:
    """Draw different words of one sort, of a drawn one if none is given."""
    sort = sort or rng.choice(THINGS)
    words: list[str] = []
    while len(words) < num_words:
        word = lexicon.draw(rng, sort, invented_share=_INVENTED_SHARE)
        if word not in words:
            words.append(word)
    return words


def listed(words: list[str]) -> str:
    """Write words as people list them."""
    return ", ".join(words[:-1]) + " and " + words[-1]


def others(rng: random.Random, words: list[str], right: str, num_wrong: int = 2) -> tuple[str, ...]:
    """Choose wrong answers among the words."""
    return tuple(rng.sample([word for word in words if word != right], num_wrong))


def near(rng: random.Random, value: int) -> tuple[str, ...]:
    """Choose two other numbers near a value."""
    offsets = [offset for offset in (-10, -4, -3, -2, -1, 1, 2, 3, 4, 10) if value + offset >= 0]
    return tuple(str(value + offset) for offset in rng.sample(offsets, 2))
