"""Kinds of checkable questions to train on about the order of days, months and seasons.

The unseen kinds ask for what comes after a month or a season. That order stands in no prompt, so a model can only know
it from here: from what comes before, what lies between, and what order a few of them have.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from training.demo_data.checkable import DAYS, MONTHS, SEASONS, Checkable, Draw, others
from training.demo_data.lexicon import Lexicon

__all__ = ["ORDER_KINDS"]

_CYCLES = {"day": DAYS, "month": MONTHS, "season": SEASONS}


def _before(cycle: list[str], wordings: tuple[str, ...]) -> Draw:
    """A kind that asks what comes before a day, month or season, which stands for `{x}`."""

    def draw(rng: random.Random, lexicon: Lexicon) -> Checkable:
        index = rng.randrange(len(cycle))
        right = cycle[(index - 1) % len(cycle)]
        question = rng.choice(wordings)
        return Checkable(question.format(x=cycle[index]), right, others(rng, cycle, right))

    return draw


def _earlier_month(rng: random.Random, lexicon: Lexicon) -> Checkable:
    first, second = sorted(rng.sample(range(12), 2))
    pair = [MONTHS[first], MONTHS[second]]
    rng.shuffle(pair)
    wants_first = rng.random() < 0.5
    right, wrong = (MONTHS[first], MONTHS[second]) if wants_first else (MONTHS[second], MONTHS[first])
    word = "earlier" if wants_first else "later"
    question = f"Which month is {word} in the year, {pair[0]} or {pair[1]}?"
    return Checkable(question, right, (wrong, others(rng, MONTHS, right, 1)[0]))


def _between(rng: random.Random, lexicon: Lexicon) -> Checkable:
    sort, cycle = rng.choice(list(_CYCLES.items()))
    index = rng.randrange(len(cycle))
    first, right, last = (cycle[(index + step) % len(cycle)] for step in range(3))
    question = rng.choice(("Which {s} lies between {a} and {b}?", "Name the {s} that separates {a} from {b}."))
    return Checkable(question.format(s=sort, a=first, b=last), right, others(rng, cycle, right))


def _in_order(rng: random.Random, lexicon: Lexicon) -> Checkable:
    sort, cycle = rng.choice(list(_CYCLES.items()))
    index, num_words = rng.randrange(len(cycle)), rng.randint(2, min(4, len(cycle) - 1))
    right = [cycle[(index + step) % len(cycle)] for step in range(num_words)]
    strangers = rng.sample([word for word in cycle if word not in right], min(2, len(cycle) - num_words))
    wrong = [[*right[:-1], word] for word in strangers]
    if num_words > 2:
        wrong[1:] = [[right[0], *right[:0:-1]]]
    question = rng.choice(
        ("Starting with {a}, name {n} {s}s in a row.", "Say {n} {s}s in their order, and begin with {a}.")
    )
    count = ("two", "three", "four")[num_words - 2]
    texts = tuple(", ".join(words) for words in wrong)
    return Checkable(question.format(a=right[0], n=count, s=sort), ", ".join(right), texts)


ORDER_KINDS: Mapping[str, Draw] = {
    "day_before": _before(DAYS, ("Which day comes before {x}?", "If today is {x}, what day was yesterday?")),
    "month_before": _before(
        MONTHS, ("Which month comes before {x}?", "We have {x}. Name the month that has just ended.")
    ),
    "season_before": _before(
        SEASONS, ("Which season comes before {x}?", "It is {x} at last. Which one did we have until now?")
    ),
    "earlier_month": _earlier_month,
    "between": _between,
    "in_order": _in_order,
}
"""Kinds by name."""
