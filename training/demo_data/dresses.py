"""The sentences that a checkable answer is given in: a few by heart at first, later many that are drawn anew.

With a dozen sentences a model learns them, not to look past them: after 3,000 steps it had 0.72 of false answers right
on kinds and in sentences it knew, and 0.50 on others. So later rankings draw theirs: one of fifty, some words of it
replaced, maybe with a sentence before or behind. Words are replaced the same way in all answers of a ranking.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.demo_data.bank import fill_once
from training.demo_data.lexicon import Lexicon
from training.demo_data.rewording import Reworder

__all__ = ["Dresser"]

_FEW = ("answer_short", "answer_long")
_MANY = (*_FEW, "answer_more")
_BEFORE, _BEHIND = ("opening", "plain"), ("closing", "plain")
_EXTRA_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Dresser:
    """Gives the sentences of one split, in which `{a}` stands for the answer."""

    lexicon: Lexicon
    phrases: Mapping[str, Sequence[str]]
    maybe_reworder: Reworder | None

    @property
    def few(self) -> list[str]:
        """The same ones each time."""
        return [dress for section in _FEW for dress in self.phrases[section]]

    def many(self, rng: random.Random) -> list[str]:
        """Fifty, drawn anew each time; needs a reworder."""
        if self.maybe_reworder is None:
            raise ValueError(f"the {self.lexicon.split} split has no words to put in place of others")
        drawn = [self._extended(rng, dress) for section in _MANY for dress in self.phrases[section]]
        change = self.maybe_reworder.changing(rng)
        return drawn if change is None else list(map(change, drawn))

    def _extended(self, rng: random.Random, dress: str) -> str:
        before = [self._extra(rng, _BEFORE)] if rng.random() < _EXTRA_SHARE else []
        behind = [self._extra(rng, _BEHIND)] if rng.random() < _EXTRA_SHARE else []
        return " ".join([*before, dress, *behind])

    def _extra(self, rng: random.Random, sections: Sequence[str]) -> str:
        topic = self.lexicon.draw(rng, "thing")
        return fill_once(rng, self.lexicon, rng.choice(self.phrases[rng.choice(sections)]), topic)
