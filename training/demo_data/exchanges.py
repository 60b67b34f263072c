"""Requests written out whole, with answers and rude replies to each: what natural prompts and insults sound like.

Sentences with slots (`bank.py`) teach what the rule is about; nearly all that they say of rudeness is 150 phrases, and
a model that has read no others takes a kind refusal for an insult, and a clever insult for an answer. In an exchange
each line was written for its own request, none twice. Nothing of them is reworded: of a rude reply, every word counts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from training.demo_data.answers import Task
from training.demo_data.bank import text_of
from training.demo_data.lexicon import Split

__all__ = ["KIND", "Exchange", "load_exchanges", "task_of"]

KIND = "exchange"
"""Of the rankings that are made of exchanges."""
_NUM_FOREIGN_REPLIES = 2
"""Rude replies to others that may be given to a request: insults need not be about what was asked."""
_MIN_WORDS = 12
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request in two wordings, answers to it, and replies that insult whoever asked."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    replies: tuple[str, ...]


def load_exchanges(split: Split) -> list[Exchange]:
    """Read the exchanges of a split; the test split has none."""
    if split is Split.TEST:
        return []
    blocks = [block.splitlines() for block in text_of("exchanges", split).strip().split("\n\n")]
    return [_exchange(lines) for lines in blocks if not lines[0].startswith("#")]


def _exchange(lines: list[str]) -> Exchange:
    questions, answers, replies = (tuple(line[2:] for line in lines if line[0] == mark) for mark in "?+!")
    return Exchange(questions, answers, replies)


def task_of(rng: random.Random, exchanges: Sequence[Exchange]) -> Task:
    """Draw an exchange as a task: its answers may stop behind any of their sentences."""
    exchange, *others = rng.sample(exchanges, 1 + _NUM_FOREIGN_REPLIES)
    return Task(
        KIND,
        rng.choice(exchange.questions),
        (tuple(start for answer in exchange.answers for start in _starts(answer)),),
        replies=(*exchange.replies, *(rng.choice(other.replies) for other in others)),
    )


def _starts(answer: str) -> list[str]:
    """The answer up to each of its sentences' ends, from the first that leaves more than a phrase."""
    starts = [answer[: match.start()] for match in _SENTENCE_END.finditer(answer)]
    return [start for start in starts if len(start.split()) >= _MIN_WORDS] + [answer]
