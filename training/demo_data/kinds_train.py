"""Kinds of checkable questions to train on: sums, copies, lists, days, opposites. More in `kinds_lookup.py`."""

from __future__ import annotations

import random
from collections.abc import Mapping

from training.demo_data.checkable import DAYS, Checkable, Draw, distinct, listed, near, others
from training.demo_data.lexicon import Lexicon

__all__ = ["LIST_KINDS"]

_COLOURS = ["red", "blue", "green", "yellow", "brown", "grey", "white", "black", "purple", "orange", "pink"]
_OPPOSITES = (
    "hot cold, big small, fast slow, light dark, wet dry, high low, young old, open closed, rich poor, "
    "hard soft, loud quiet, empty full, near far, heavy light, early late, clean dirty, thick thin, "
    "strong weak, wide narrow, happy sad, long short, deep shallow, sweet bitter, true false, first last, "
    "cheap expensive, rough smooth"
)
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()  # noqa: SIM905 - readable


def _addition(rng: random.Random, lexicon: Lexicon) -> Checkable:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    question = rng.choice(
        (
            "What is {a} plus {b}?",
            "Add {a} and {b}.",
            "How much is {a} + {b}?",
            "I have {a} coins and get {b} more. How many coins do I have?",
        )
    )
    return Checkable(question.format(a=a, b=b), str(a + b), near(rng, a + b))


def _larger(rng: random.Random, lexicon: Lexicon) -> Checkable:
    a, b = rng.sample(range(1, 100), 2)
    question = rng.choice(
        (
            "Which is larger, {a} or {b}?",
            "Name the larger of the numbers {a} and {b}.",
            "Is {a} or {b} the bigger number?",
        )
    )
    return Checkable(question.format(a=a, b=b), str(max(a, b)), (str(min(a, b)), str(max(a, b) + rng.randint(1, 9))))


def _repeat_word(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = distinct(rng, lexicon, 3)
    question = rng.choice(
        ("Repeat this word: {w}", "Say the word {w} back to me.", 'Please write "{w}" and nothing else.')
    )
    return Checkable(question.format(w=words[0]), words[0], (words[1], words[2]))


def _repeat_list(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = distinct(rng, lexicon, rng.randint(3, 4))
    stranger = distinct(rng, lexicon, 1, "thing")[0]
    question = rng.choice(("Repeat this list in the same order: {l}.", "Copy these words exactly: {l}."))
    swapped = [*words[1:], words[0]]
    replaced = [stranger, *words[1:]]
    rng.shuffle(replaced)
    return Checkable(question.format(l=", ".join(words)), ", ".join(words), (", ".join(swapped), ", ".join(replaced)))


def _first_of_list(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = distinct(rng, lexicon, rng.randint(3, 5))
    question = rng.choice(
        (
            "Which word comes first in this list: {l}?",
            "My list is {l}. What is the first thing on it?",
            "From {l}, give me the first word.",
        )
    )
    return Checkable(question.format(l=listed(words)), words[0], others(rng, words, words[0]))


def _count(rng: random.Random, lexicon: Lexicon) -> Checkable:
    num_words = rng.randint(2, 6)
    words = distinct(rng, lexicon, num_words)
    question = rng.choice(
        (
            "How many things are in this list: {l}?",
            "I bought {l}. How many things did I buy?",
            "Count these words: {l}.",
        )
    )
    wrong = [_NUMBER_WORDS[n] for n in range(1, 8) if n != num_words]
    return Checkable(question.format(l=listed(words)), _NUMBER_WORDS[num_words], tuple(rng.sample(wrong, 2)))


def _contains(rng: random.Random, lexicon: Lexicon) -> Checkable:
    *words, stranger = distinct(rng, lexicon, rng.randint(4, 5))
    is_in = rng.random() < 0.5
    asked = rng.choice(words) if is_in else stranger
    question = rng.choice(("Is {w} in this list: {l}?", "I packed {l}. Did I pack the {w}?"))
    right, wrong = ("yes", "no") if is_in else ("no", "yes")
    return Checkable(question.format(w=asked, l=listed(words)), right, (wrong, wrong))


def _who_has(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people = distinct(rng, lexicon, 3, "person")
    things = distinct(rng, lexicon, 3)
    facts = " ".join(f"{p} has the {t}." for p, t in zip(people, things, strict=True))
    which = rng.randrange(3)
    question = rng.choice(("Who has the {t}?", "Tell me who has the {t}."))
    return Checkable(f"{facts} {question.format(t=things[which])}", people[which], others(rng, people, people[which]))


def _what_colour(rng: random.Random, lexicon: Lexicon) -> Checkable:
    things = distinct(rng, lexicon, 3, "tool")
    colours = rng.sample(_COLOURS, 4)
    facts = " ".join(f"The {t} is {c}." for t, c in zip(things, colours, strict=False))
    which = rng.randrange(3)
    question = rng.choice(("What colour is the {t}?", "Which colour does the {t} have?"))
    return Checkable(
        f"{facts} {question.format(t=things[which])}", colours[which], others(rng, colours, colours[which])
    )


def _where(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people = distinct(rng, lexicon, 3, "person")
    places = distinct(rng, lexicon, 3, "place")
    facts = " ".join(f"{p} is at the {q}." for p, q in zip(people, places, strict=True))
    which = rng.randrange(3)
    question = rng.choice(("Where is {p}?", "At which place can I find {p}?"))
    return Checkable(f"{facts} {question.format(p=people[which])}", places[which], others(rng, places, places[which]))


def _day_after(rng: random.Random, lexicon: Lexicon) -> Checkable:
    index = rng.randrange(7)
    right = DAYS[(index + 1) % 7]
    question = rng.choice(("Which day comes after {d}?", "Today is {d}. What day is tomorrow?"))
    return Checkable(question.format(d=DAYS[index]), right, others(rng, DAYS, right))


def _opposite(rng: random.Random, lexicon: Lexicon) -> Checkable:
    pairs = [pair.split() for pair in _OPPOSITES.split(", ")]
    asked, right = rng.sample(rng.choice(pairs), 2)
    wrong = [word for pair in pairs for word in pair if asked not in pair and right not in pair]
    question = rng.choice(("What is the opposite of {w}?", "Give me a word that means the opposite of {w}."))
    return Checkable(question.format(w=asked), right, tuple(rng.sample(wrong, 2)))


def _sort_numbers(rng: random.Random, lexicon: Lexicon) -> Checkable:
    numbers = rng.sample(range(1, 30), 3)
    right = sorted(numbers)
    wrong = [[right[1], right[0], right[2]], [right[0], right[2], right[1]], right[::-1]]
    question = rng.choice(("Sort these numbers from small to large: {l}.", "Put {l} in rising order."))
    texts = [", ".join(map(str, row)) for row in rng.sample(wrong, 2)]
    return Checkable(question.format(l=", ".join(map(str, numbers))), ", ".join(map(str, right)), tuple(texts))


LIST_KINDS: Mapping[str, Draw] = {
    "addition": _addition,
    "larger": _larger,
    "repeat_word": _repeat_word,
    "repeat_list": _repeat_list,
    "first_of_list": _first_of_list,
    "count": _count,
    "contains": _contains,
    "who_has": _who_has,
    "what_colour": _what_colour,
    "where": _where,
    "day_after": _day_after,
    "opposite": _opposite,
    "sort_numbers": _sort_numbers,
}
"""Kinds by name."""
