"""Drills: a checkable question, its right answer and two wrong ones, put in the same words and nothing else.

In a whole ranking a false answer is one of seven, in a sentence of twenty words; that a small model looks the answer up
at all is learned sooner where nothing else tells right from wrong. Drawn from the training kinds alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

from service.types import Message
from training.demo_data.answers import WEIGHTS, Defect
from training.demo_data.bank import load_phrases
from training.demo_data.generator import Generator
from training.demo_data.kinds import kinds_of
from training.demo_data.lexicon import Split, load_lexicon
from training.rankings import Ranking

__all__ = ["drills"]

_NUM_WITH_FEW_DRESSES = 13_000
"""Drills that come before answers get sentences drawn anew (`dresses.py`)."""
_MAX_WORDS = 14
_DEFECTS = (Defect.NONE, Defect.WRONG, Defect.WRONG)


def drills(seed: int) -> Iterator[Ranking]:
    """Yield drills without end; the same seed gives the same bytes, and the i-th depends on (seed, i) alone."""
    lexicon, kinds = load_lexicon(Split.TRAIN), kinds_of(Split.TRAIN)
    few, dresser = load_phrases(Split.TRAIN)["answer_short"], Generator(seed, Split.TRAIN).dresser
    for index in count():
        rng = random.Random(f"{seed}/drill/{index}")
        kind = rng.choice(list(kinds))
        drawn = kinds[kind](rng, lexicon)
        dress = rng.choice(few if index < _NUM_WITH_FEW_DRESSES else _short(dresser.many(rng)))
        yield Ranking(
            messages=(Message("user", drawn.question),),
            answers=tuple(dress.replace("{a}", text) for text in (drawn.right, *drawn.wrong)),
            tiers=tuple(WEIGHTS[defect] for defect in _DEFECTS),
            kind=kind,
            defects=tuple(defect.value for defect in _DEFECTS),
        )


def _short(dresses: list[str]) -> list[str]:
    return [dress for dress in dresses if len(dress.split()) <= _MAX_WORDS]
