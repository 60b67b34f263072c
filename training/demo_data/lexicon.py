"""Words of the demo data: topics by sort, filler words, and invented words, each in two disjoint splits.

Every fourth topic of a sort, and every invented word whose checksum says so, belongs to the held-out split
and never occurs as a topic in training. Filler words (adjectives, verbs, …) are shared: they carry no topic.
Random draws come from the caller's generator alone.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["FILLER_SORTS", "Lexicon", "Split", "load_lexicon", "tidy"]

FILLER_SORTS = ("adj", "verb", "adverb", "thing")
"""Sorts that both splits share."""

_ONSETS = "b bl br c ch d dr f fl g gl gr h j k l m n p pl pr r s sh sk sl sn sp st t th tr v w y z".split()  # noqa: SIM905 - readable
_NUCLEI = ["a", "e", "i", "o", "u", "ai", "ea", "ee", "oa", "oo", "ou"]
_CODAS = [""] * 3 + "b ck d g l ll m n nd ng p r rn sh t x zz".split()  # noqa: SIM905 - readable
_ENDINGS = [""] * 3 + "er le y et in o ish ock".split()  # noqa: SIM905 - readable

_FIRST_HELD_OUT = 3
"""Position of the first held-out topic of a sort; every fourth from there is held out too."""

_NEITHER = frozenset({"boat", "thunder"})
"""Topics of neither split: their place in the lists is held out, but training's bank uses them in free slots."""


class Split(StrEnum):
    """Which side of the wall between training and evaluation a word, wording or kind is on."""

    TRAIN = "train"
    HELD_OUT = "held_out"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words of one split.

    Attributes:
        split: The split they belong to.
        words: For each sort its words in this split; all of them for `FILLER_SORTS`.
    """

    split: Split
    words: Mapping[str, tuple[str, ...]]

    def draw(self, rng: random.Random, sort: str, *, invented_share: float = 0.0) -> str:
        """Draw a word of a sort; topics are invented words with the given probability."""
        if sort not in FILLER_SORTS and rng.random() < invented_share:
            word = self.invent(rng)
            return word.capitalize() if sort == "person" else word
        return rng.choice(self.words[sort])

    def invent(self, rng: random.Random) -> str:
        """Make up a pronounceable word that belongs to this split."""
        while True:
            syllables = rng.choice((1, 2, 2))
            word = "".join(rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS) for _ in range(syllables))
            word += rng.choice(_ENDINGS)
            if len(word) > 3 and _split_of_invented(word) == self.split:
                return word


def _split_of_invented(word: str) -> Split:
    return {0: Split.HELD_OUT, 1: Split.TEST}.get(zlib.crc32(word.encode()) % 4, Split.TRAIN)


def load_lexicon(split: Split) -> Lexicon:
    """Read `words.txt` and keep the words of a split; a topic held out in one sort is held out in all."""
    listed = _read_words("words.txt")
    held_out = {
        word for sort, words in listed.items() if sort not in FILLER_SORTS for word in words[_FIRST_HELD_OUT::4]
    }
    kept: dict[str, tuple[str, ...]] = {}
    for sort, words in listed.items():
        wants_held_out = split is Split.HELD_OUT and sort not in FILLER_SORTS
        kept[sort] = tuple(word for word in words if (word in held_out) == wants_held_out and word not in _NEITHER)
    if split is Split.TEST:
        kept.update((sort, tuple(words)) for sort, words in _read_words("words_test.txt").items())
    return Lexicon(split, kept)


def _read_words(name: str) -> dict[str, list[str]]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(": ") for line in lines if line and not line.startswith("#"))
    return {sort: words.split(", ") for sort, _, words in pairs}


_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")
_SENTENCE_START = re.compile(r"(^|[.!?]\s+|[.!?]\"\s+)([a-z])")


def tidy(text: str) -> str:
    """Repair what filling slots breaks: `a apple` becomes `an apple`, sentences start with a capital."""
    text = _ARTICLE.sub(r"\1n ", text)
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)
