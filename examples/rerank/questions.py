"""Questions with answers of known quality, and a first stage that finds answers by their words.

From the held-out half of the generator that the demo reward model was trained with: it has seen none of these
wordings or topics. Each question has seven answers, the best sound, the others with one stated defect each.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from dataclasses import dataclass

from training.demo_data.generator import generate
from training.demo_data.lexicon import Split

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Answer:
    """An answer to one of the questions.

    Attributes:
        text: What it says.
        question: Index of the question it was written for.
        defect: What is wrong with it; `none` if it is sound.
        weight: How bad that is, 0 for sound.
    """

    text: str
    question: int
    defect: str
    weight: int

    def is_good_for(self, question: int) -> bool:
        """Whether it is a sound answer to that question."""
        return self.question == question and self.weight == 0


@dataclass(frozen=True)
class Question:
    """One question and the seven answers written for it, in an order that says nothing."""

    text: str
    answers: tuple[Answer, ...]


def questions(seed: int, num_questions: int) -> list[Question]:
    """Draws questions without earlier turns, each text once."""
    drawn: dict[str, Question] = {}
    for ranking in generate(seed, Split.HELD_OUT, 3 * num_questions):
        text = ranking.messages[-1].content
        if len(ranking.messages) == 1 and text not in drawn and len(drawn) < num_questions:
            rows = zip(ranking.answers, ranking.defects, ranking.tiers, strict=True)
            answers = [Answer(answer, len(drawn), defect, tier) for answer, defect, tier in rows]
            random.Random(f"{seed}/{text}").shuffle(answers)
            drawn[text] = Question(text, tuple(answers))
    return list(drawn.values())


class WordSearch:
    """Finds texts that share rare words with a query: BM25 (Robertson and Zaragoza 2009, eq. 3.15; k1=1.2, b=0.75)."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = [Counter(_words(text)) for text in texts]
        self._lengths = [sum(counts.values()) for counts in self._texts]
        self._mean_length = sum(self._lengths) / len(self._lengths)
        num_with = Counter(word for counts in self._texts for word in counts)
        self._rarity = {word: math.log((len(texts) - n + 0.5) / (n + 0.5) + 1) for word, n in num_with.items()}

    def best(self, query: str, num_texts: int) -> list[int]:
        """Returns the indices of the best texts, best first."""
        scores = [self._score(set(_words(query)), index) for index in range(len(self._texts))]
        return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:num_texts]

    def _score(self, words: set[str], index: int) -> float:
        counts = self._texts[index]
        norm = 1.2 * (0.25 + 0.75 * self._lengths[index] / self._mean_length)
        return sum(self._rarity[word] * counts[word] * 2.2 / (counts[word] + norm) for word in words if word in counts)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
