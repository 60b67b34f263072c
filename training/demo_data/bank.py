"""Reads the hand-written texts: questions with answer sentences, and wordings by section.

A bank entry keeps its slots: `{tool}` and `{animal2}` stand for topics of a sort, `[kettle]` for itself half
of the time and else for any topic. `Fill` decides once what each slot stands for and is then
applied to question and answers alike. Knows the file format and nothing of defects or scores.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.demo_data.lexicon import Lexicon, Split, tidy

__all__ = ["Entry", "Fill", "fill_once", "load_bank", "load_phrases", "text_of"]

_SLOT = re.compile(r"\{(?P<sort>[a-z]+?)(?P<number>\d?)\}|\[(?P<own>[A-Za-z]+)\]")
_FREE_SORTS = ("animal", "plant", "tool", "food", "material", "nature", "event", "place")
"""What may stand in a free slot instead of its own word."""
_OWN_WORD_SHARE = 0.5
_SUFFIX = {Split.TRAIN: "train", Split.HELD_OUT: "heldout", Split.TEST: "test"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One question in several wordings, with the sentences that answer each asked-for part.

    Attributes:
        kind: What sort of question it is (`howto`, `why`, …).
        questions: Wordings of the same question.
        parts: For each asked-for part the sentences that answer it.
    """

    kind: str
    questions: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Fill:
    """What each slot stands for, such as `{"tool": "drum", "animal2": "goose", "kettle": "kettle"}`."""

    values: Mapping[str, str]

    @classmethod
    def draw(cls, rng: random.Random, lexicon: Lexicon, texts: Sequence[str], invented_share: float) -> Fill:
        """Draw a distinct topic for each slot that occurs in the texts, in order of occurrence."""
        values: dict[str, str] = {}
        for match in _SLOT.finditer("\n".join(texts)):
            while _name(match) not in values:
                word = _word_for(rng, lexicon, match, invented_share)
                if word not in values.values():
                    values[_name(match)] = word
        return cls(values)

    def apply(self, text: str) -> str:
        """Put the values into a text's slots; slots without a value stay as they are."""
        return tidy(_SLOT.sub(lambda match: self.values.get(_name(match), match[0]), text))

    @property
    def topics(self) -> list[str]:
        """The words filled in, in order of first occurrence."""
        return list(self.values.values())


def _name(match: re.Match[str]) -> str:
    """Name a slot: its sort and number, or its own word in lower case (`[Mould]` is `[mould]`)."""
    return match["own"].lower() if match["own"] else match["sort"] + match["number"]


def _word_for(rng: random.Random, lexicon: Lexicon, match: re.Match[str], invented_share: float) -> str:
    if not match["own"]:
        return lexicon.draw(rng, match["sort"], invented_share=invented_share)
    if rng.random() < _OWN_WORD_SHARE:
        return match["own"]
    return lexicon.draw(rng, rng.choice(_FREE_SORTS), invented_share=invented_share)


def fill_once(rng: random.Random, lexicon: Lexicon, text: str, topic: str) -> str:
    """Fill a wording: `{x}` with the topic, every other slot with a word drawn for this use."""
    text = text.replace("{x}", topic)
    return Fill.draw(rng, lexicon, [text], invented_share=0.0).apply(text)


def text_of(stem: str, split: Split) -> str:
    """A split's file of hand-written text."""
    return Path(__file__).with_name(f"{stem}_{_SUFFIX[split]}.txt").read_text(encoding="utf-8")


def _lines(stem: str, split: Split) -> list[str]:
    return [line for line in text_of(stem, split).splitlines() if line and not line.startswith("#")]


def load_bank(split: Split) -> list[Entry]:
    """Read the questions and answers of a split."""
    blocks: list[tuple[str, list[str]]] = []
    for line in _lines("bank", split):
        if line.startswith("@"):
            blocks.append((line[1:], []))
        else:
            blocks[-1][1].append(line)
    return [_entry(kind, lines) for kind, lines in blocks]


def _entry(kind: str, lines: list[str]) -> Entry:
    questions = tuple(line[2:] for line in lines if line.startswith("? "))
    marks = sorted({line[0] for line in lines if line[0].isdigit()})
    parts = tuple(tuple(line[2:] for line in lines if line[0] == mark) for mark in marks)
    return Entry(kind, questions, parts)


def load_phrases(split: Split) -> dict[str, list[str]]:
    """Read the wordings of a split by section."""
    sections: dict[str, list[str]] = {}
    for line in _lines("phrases", split):
        if line.startswith("@"):
            current = sections.setdefault(line[1:], [])
        else:
            current.append(line)
    return sections
