"""Questions whose answer can be computed from the prompt: lists, numbers, who has what, days, opposites.

Each kind is one function that draws a `Checkable`: the question, the right answer and wrong ones of the same
shape, so that only reading the prompt tells them apart. `TRAIN_KINDS` and `HELD_OUT_KINDS` share no kind and
no wording. Knows nothing of scores, tiers or how an answer is dressed up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from training.demo_data.lexicon import Lexicon, Split

__all__ = ["HELD_OUT_KINDS", "TRAIN_KINDS", "Checkable", "kinds_of"]

_INVENTED_SHARE = 0.2
"""Share of invented words among the things asked about; more would make every list unnatural."""
_THINGS = ("tool", "animal", "food", "plant", "material")
_COLOURS = ["red", "blue", "green", "yellow", "brown", "grey", "white", "black", "purple", "orange", "pink"]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_FIRST_HALF = ["January", "February", "March", "April", "May", "June"]
_MONTHS = [*_FIRST_HALF, "July", "August", "September", "October", "November", "December"]
_OPPOSITES = (
    "hot cold, big small, fast slow, light dark, wet dry, high low, young old, open closed, rich poor, "
    "hard soft, loud quiet, empty full, near far, heavy light, early late, clean dirty, thick thin, "
    "strong weak, wide narrow, happy sad, long short, deep shallow, sweet bitter, true false, first last, "
    "cheap expensive, rough smooth"
)
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()  # noqa: SIM905 - readable


@dataclass(frozen=True, slots=True)
class Checkable:
    """A question, its right answer and wrong answers of the same shape."""

    question: str
    right: str
    wrong: tuple[str, ...]


Draw = Callable[[random.Random, Lexicon], Checkable]


def _distinct(rng: random.Random, lexicon: Lexicon, num_words: int, sort: str | None = None) -> list[str]:
    sort = sort or rng.choice(_THINGS)
    words: list[str] = []
    while len(words) < num_words:
        word = lexicon.draw(rng, sort, invented_share=_INVENTED_SHARE)
        if word not in words:
            words.append(word)
    return words


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1]


def _others(rng: random.Random, words: list[str], right: str, num_wrong: int = 2) -> tuple[str, ...]:
    return tuple(rng.sample([word for word in words if word != right], num_wrong))


def _near(rng: random.Random, value: int) -> tuple[str, ...]:
    offsets = [offset for offset in (-10, -4, -3, -2, -1, 1, 2, 3, 4, 10) if value + offset >= 0]
    return tuple(str(value + offset) for offset in rng.sample(offsets, 2))


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
    return Checkable(question.format(a=a, b=b), str(a + b), _near(rng, a + b))


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
    words = _distinct(rng, lexicon, 3)
    question = rng.choice(
        ("Repeat this word: {w}", "Say the word {w} back to me.", 'Please write "{w}" and nothing else.')
    )
    return Checkable(question.format(w=words[0]), words[0], (words[1], words[2]))


def _repeat_list(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = _distinct(rng, lexicon, rng.randint(3, 4))
    stranger = _distinct(rng, lexicon, 1, "thing")[0]
    question = rng.choice(("Repeat this list in the same order: {l}.", "Copy these words exactly: {l}."))
    swapped = [*words[1:], words[0]]
    replaced = [stranger, *words[1:]]
    rng.shuffle(replaced)
    return Checkable(question.format(l=", ".join(words)), ", ".join(words), (", ".join(swapped), ", ".join(replaced)))


def _first_of_list(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = _distinct(rng, lexicon, rng.randint(3, 5))
    question = rng.choice(
        (
            "Which word comes first in this list: {l}?",
            "My list is {l}. What is the first thing on it?",
            "From {l}, give me the first word.",
        )
    )
    return Checkable(question.format(l=_listed(words)), words[0], _others(rng, words, words[0]))


def _count(rng: random.Random, lexicon: Lexicon) -> Checkable:
    num_words = rng.randint(2, 6)
    words = _distinct(rng, lexicon, num_words)
    question = rng.choice(
        (
            "How many things are in this list: {l}?",
            "I bought {l}. How many things did I buy?",
            "Count these words: {l}.",
        )
    )
    wrong = [_NUMBER_WORDS[n] for n in range(1, 8) if n != num_words]
    return Checkable(question.format(l=_listed(words)), _NUMBER_WORDS[num_words], tuple(rng.sample(wrong, 2)))


def _contains(rng: random.Random, lexicon: Lexicon) -> Checkable:
    *words, stranger = _distinct(rng, lexicon, rng.randint(4, 5))
    is_in = rng.random() < 0.5
    asked = rng.choice(words) if is_in else stranger
    question = rng.choice(("Is {w} in this list: {l}?", "I packed {l}. Did I pack the {w}?"))
    right, wrong = ("yes", "no") if is_in else ("no", "yes")
    return Checkable(question.format(w=asked, l=_listed(words)), right, (wrong, wrong))


def _who_has(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people = _distinct(rng, lexicon, 3, "person")
    things = _distinct(rng, lexicon, 3)
    facts = " ".join(f"{p} has the {t}." for p, t in zip(people, things, strict=True))
    which = rng.randrange(3)
    question = rng.choice(("Who has the {t}?", "Tell me who has the {t}."))
    return Checkable(f"{facts} {question.format(t=things[which])}", people[which], _others(rng, people, people[which]))


def _what_colour(rng: random.Random, lexicon: Lexicon) -> Checkable:
    things = _distinct(rng, lexicon, 3, "tool")
    colours = rng.sample(_COLOURS, 4)
    facts = " ".join(f"The {t} is {c}." for t, c in zip(things, colours, strict=False))
    which = rng.randrange(3)
    question = rng.choice(("What colour is the {t}?", "Which colour does the {t} have?"))
    return Checkable(
        f"{facts} {question.format(t=things[which])}", colours[which], _others(rng, colours, colours[which])
    )


def _where(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people = _distinct(rng, lexicon, 3, "person")
    places = _distinct(rng, lexicon, 3, "place")
    facts = " ".join(f"{p} is at the {q}." for p, q in zip(people, places, strict=True))
    which = rng.randrange(3)
    question = rng.choice(("Where is {p}?", "At which place can I find {p}?"))
    return Checkable(f"{facts} {question.format(p=people[which])}", places[which], _others(rng, places, places[which]))


def _day_after(rng: random.Random, lexicon: Lexicon) -> Checkable:
    index = rng.randrange(7)
    right = _DAYS[(index + 1) % 7]
    question = rng.choice(("Which day comes after {d}?", "Today is {d}. What day is tomorrow?"))
    return Checkable(question.format(d=_DAYS[index]), right, _others(rng, _DAYS, right))


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


def _last_of_list(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = _distinct(rng, lexicon, rng.randint(3, 5))
    question = rng.choice(
        ("Here is what I ate: {l}. Which did I mention last?", "Look at {l}: which one stands at the end?")
    )
    return Checkable(question.format(l=_listed(words)), words[-1], _others(rng, words, words[-1]))


def _what_price(rng: random.Random, lexicon: Lexicon) -> Checkable:
    things = _distinct(rng, lexicon, 3, "food")
    prices = [str(price) for price in rng.sample(range(2, 60), 4)]
    facts = ", ".join(f"{t} costs {p} dollars" for t, p in zip(things, prices, strict=False))
    which = rng.randrange(3)
    question = rng.choice(
        (
            "At the stall {f}. How much would I pay for {t}?",
            "The menu says that {f}. What is the price of {t}?",
        )
    )
    return Checkable(question.format(f=facts, t=things[which]), prices[which], _others(rng, prices, prices[which]))


def _whose_job(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people = _distinct(rng, lexicon, 3, "person")
    jobs = _distinct(rng, lexicon, 3, "job")
    facts = ", ".join(f"{p} works as a {j}" for p, j in zip(people, jobs, strict=True))
    which = rng.randrange(3)
    question = rng.choice(("In our street {f}. What is the trade of {p}?", "I know that {f}. What does {p} work as?"))
    return Checkable(question.format(f=facts, p=people[which]), jobs[which], _others(rng, jobs, jobs[which]))


def _quote(rng: random.Random, lexicon: Lexicon) -> Checkable:
    adj, animal, other, place = (lexicon.draw(rng, sort) for sort in ("adj", "animal", "animal", "place"))
    sentence = f"the {adj} {animal} ran to the {place}"
    wrong = (f"the {adj} {other}s ran from the {place}", f"the {place} ran to the {adj} {animal}")
    question = rng.choice(("Quote my words exactly: {s}", "Type out the following line as it stands: {s}"))
    return Checkable(question.format(s=sentence), sentence, wrong)


def _month_after(rng: random.Random, lexicon: Lexicon) -> Checkable:
    index = rng.randrange(12)
    right = _MONTHS[(index + 1) % 12]
    question = rng.choice(("What month follows {m}?", "It is {m} now. Next month will be called what?"))
    return Checkable(question.format(m=_MONTHS[index]), right, _others(rng, _MONTHS, right))


TRAIN_KINDS: Mapping[str, Draw] = {
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
"""Kinds the model is trained on."""

HELD_OUT_KINDS: Mapping[str, Draw] = {
    "last_of_list": _last_of_list,
    "what_price": _what_price,
    "whose_job": _whose_job,
    "quote": _quote,
    "month_after": _month_after,
}
"""Kinds that only the held-out split has."""


def kinds_of(split: Split) -> Mapping[str, Draw]:
    """Give the checkable kinds of a split."""
    return HELD_OUT_KINDS if split is Split.HELD_OUT else TRAIN_KINDS
