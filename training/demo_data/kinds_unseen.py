"""Kinds of checkable questions that no training ranking has: those of the validation and of the test split."""

from __future__ import annotations

import random
from collections.abc import Mapping

from training.demo_data.checkable import MONTHS, SEASONS, Checkable, Draw, distinct, listed, others
from training.demo_data.lexicon import Lexicon

__all__ = ["HELD_OUT_KINDS", "TEST_KINDS"]


def _last_of_list(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = distinct(rng, lexicon, rng.randint(3, 5))
    question = rng.choice(
        ("Here is what I ate: {l}. Which did I mention last?", "Look at {l}: which one stands at the end?")
    )
    return Checkable(question.format(l=listed(words)), words[-1], others(rng, words, words[-1]))


def _what_price(rng: random.Random, lexicon: Lexicon) -> Checkable:
    things = distinct(rng, lexicon, 3, "food")
    prices = [str(price) for price in rng.sample(range(2, 60), 4)]
    facts = ", ".join(f"{t} costs {p} dollars" for t, p in zip(things, prices, strict=False))
    which = rng.randrange(3)
    question = rng.choice(
        (
            "At the stall {f}. How much would I pay for {t}?",
            "The menu says that {f}. What is the price of {t}?",
        )
    )
    return Checkable(question.format(f=facts, t=things[which]), prices[which], others(rng, prices, prices[which]))


def _whose_job(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people = distinct(rng, lexicon, 3, "person")
    jobs = distinct(rng, lexicon, 3, "job")
    facts = ", ".join(f"{p} works as a {j}" for p, j in zip(people, jobs, strict=True))
    which = rng.randrange(3)
    question = rng.choice(("In our street {f}. What is the trade of {p}?", "I know that {f}. What does {p} work as?"))
    return Checkable(question.format(f=facts, p=people[which]), jobs[which], others(rng, jobs, jobs[which]))


def _quote(rng: random.Random, lexicon: Lexicon) -> Checkable:
    adj, animal, other, place = (lexicon.draw(rng, sort) for sort in ("adj", "animal", "animal", "place"))
    sentence = f"the {adj} {animal} ran to the {place}"
    wrong = (f"the {adj} {other}s ran from the {place}", f"the {place} ran to the {adj} {animal}")
    question = rng.choice(("Quote my words exactly: {s}", "Type out the following line as it stands: {s}"))
    return Checkable(question.format(s=sentence), sentence, wrong)


def _month_after(rng: random.Random, lexicon: Lexicon) -> Checkable:
    index = rng.randrange(12)
    right = MONTHS[(index + 1) % 12]
    question = rng.choice(("What month follows {m}?", "It is {m} now. Next month will be called what?"))
    return Checkable(question.format(m=MONTHS[index]), right, others(rng, MONTHS, right))


def _second_of_list(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = distinct(rng, lexicon, rng.randint(3, 5))
    question = rng.choice(
        ("These are my presents: {l}. Which of them is number two?", "I saw {l}, one after another. Name the second.")
    )
    return Checkable(question.format(l=listed(words)), words[1], others(rng, words, words[1]))


def _what_age(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people = distinct(rng, lexicon, 3, "person")
    ages = [str(age) for age in rng.sample(range(2, 95), 4)]
    facts = "; ".join(f"{p} turned {a}" for p, a in zip(people, ages, strict=False))
    which = rng.randrange(3)
    question = rng.choice(("This year {f}. What is the age of {p}?", "At our last reunion {f}. How old is {p}?"))
    return Checkable(question.format(f=facts, p=people[which]), ages[which], others(rng, ages, ages[which]))


def _whose_pet(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people = distinct(rng, lexicon, 3, "person")
    animals = distinct(rng, lexicon, 3, "animal")
    facts = " and ".join(f"{p} looks after a {a}" for p, a in zip(people, animals, strict=True))
    which = rng.randrange(3)
    question = rng.choice(
        (
            "At the shelter {f}. Which person is in charge of the {a}?",
            "As far as I know, {f}. The {a}: whose task is it?",
        )
    )
    return Checkable(question.format(f=facts, a=animals[which]), people[which], others(rng, people, people[which]))


def _copy_code(rng: random.Random, lexicon: Lexicon) -> Checkable:
    code = "".join(rng.choices("0123456789", k=5))
    swapped = code[1:] + code[0] if len(set(code)) > 1 else "12345"
    place = rng.randrange(5)
    changed = code[:place] + str((int(code[place]) + rng.randint(1, 9)) % 10) + code[place + 1 :]
    question = rng.choice(
        ("The code of the safe is {c}. Tell me the code again.", "Note that my number is {c}. Now read it out.")
    )
    return Checkable(question.format(c=code), code, (changed, swapped))


def _season_after(rng: random.Random, lexicon: Lexicon) -> Checkable:
    index = rng.randrange(4)
    right = SEASONS[(index + 1) % 4]
    question = rng.choice(("What is the season after {s} called?", "Once {s} has ended, which season do we get?"))
    return Checkable(question.format(s=SEASONS[index]), right, others(rng, SEASONS, right))


HELD_OUT_KINDS: Mapping[str, Draw] = {
    "last_of_list": _last_of_list,
    "what_price": _what_price,
    "whose_job": _whose_job,
    "quote": _quote,
    "month_after": _month_after,
}
"""Kinds of the validation split."""

TEST_KINDS: Mapping[str, Draw] = {
    "second_of_list": _second_of_list,
    "what_age": _what_age,
    "whose_pet": _whose_pet,
    "copy_code": _copy_code,
    "season_after": _season_after,
}
"""Kinds of the test split."""
