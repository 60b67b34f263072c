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


def _day_before(rng: random.Random, lexicon: Lexicon) -> Checkable:
    index = rng.randrange(7)
    right = DAYS[(index - 1) % 7]
    question = rng.choice(("Which day comes before {d}?", "If today is {d}, what day was yesterday?"))
    return Checkable(question.format(d=DAYS[index]), right, others(rng, DAYS, right))


def _earlier_month(rng: random.Random, lexicon: Lexicon) -> Checkable:
    first, second = sorted(rng.sample(range(12), 2))
    pair = [MONTHS[first], MONTHS[second]]
    rng.shuffle(pair)
    wants_first = rng.random() < 0.5
    right, wrong = (MONTHS[first], MONTHS[second]) if wants_first else (MONTHS[second], MONTHS[first])
    word = "earlier" if wants_first else "later"
    question = f"Which month is {word} in the year, {pair[0]} or {pair[1]}?"
    return Checkable(question, right, (wrong, others(rng, MONTHS, right, 1)[0]))


def _month_before(rng: random.Random, lexicon: Lexicon) -> Checkable:
    index = rng.randrange(12)
    right = MONTHS[(index - 1) % 12]
    question = rng.choice(("Which month comes before {m}?", "We have {m}. Name the month that has just ended."))
    return Checkable(question.format(m=MONTHS[index]), right, others(rng, MONTHS, right))


def _season_before(rng: random.Random, lexicon: Lexicon) -> Checkable:
    index = rng.randrange(4)
    right = SEASONS[(index - 1) % 4]
    question = rng.choice(("Which season comes before {s}?", "It is {s} at last. Which one did we have until now?"))
    return Checkable(question.format(s=SEASONS[index]), right, others(rng, SEASONS, right))


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
    "day_before": _day_before,
    "month_before": _month_before,
    "season_before": _season_before,
    "earlier_month": _earlier_month,
    "between": _between,
    "in_order": _in_order,
}
"""Kinds by name."""
