"""Kinds of checkable questions to train on whose answer stands in the prompt: facts, orders, comparisons."""

from __future__ import annotations

import random
from collections.abc import Mapping

from training.demo_data.checkable import THINGS, Checkable, Draw, distinct, listed, others
from training.demo_data.lexicon import Lexicon

__all__ = ["LOOKUP_KINDS"]

_RELATIONS: tuple[tuple[str, str, str, str], ...] = (
    ("{a} carries the {b}", "Who carries the {b}?", "What does {a} carry?", "tool"),
    ("{a} likes {b}", "Who likes {b}?", "What does {a} like?", "food"),
    ("{a} lives by the {b}", "Who lives by the {b}?", "Where does {a} live?", "place"),
    ("{a} studies {b}", "Which student has chosen {b}?", "What does {a} study?", "field"),
    ("{a} drew a {b}", "Who drew the {b}?", "What did {a} draw?", "animal"),
    ("{a} planted a {b}", "Who planted the {b}?", "What did {a} plant?", "plant"),
    ("{a} bought {b}", "Who bought {b}?", "What did {a} buy?", "food"),
    ("{a} is waiting for the {b}", "Who is waiting for the {b}?", "What is {a} waiting for?", "event"),
    ("{a} dreams of a {b}", "Whose dream is about a {b}?", "What does {a} dream of?", "nature"),
    ("{a} sells {b}", "Who sells {b}?", "What does {a} sell?", "material"),
    ("{a} lost the {b}", "Who lost the {b}?", "What has {a} lost?", "part"),
    ("the {b} belongs to {a}", "Whose is the {b}?", "Which thing is owned by {a}?", "tool"),
    ("{a} came from the {b}", "Who came from the {b}?", "Where did {a} come from?", "place"),
    ("{a} fears the {b}", "Who is afraid of the {b}?", "What is {a} afraid of?", "animal"),
    ("{a} repairs the {b}", "Name the person who repairs the {b}.", "Name the thing that {a} repairs.", "tool"),
)
"""Fact, question for the person, question for the thing, sort of the thing."""
_COUNTED: tuple[tuple[str, str, str], ...] = (
    ("the {b} weighs {n} kilos", "How heavy is the {b}?", "Which one weighs {n} kilos?"),
    ("the {b} is in room {n}", "In which room is the {b}?", "What do I find in room {n}?"),
    ("box {n} holds the {b}", "Which box holds the {b}?", "What is in box {n}?"),
    ("the {b} came {n} days ago", "How many days ago did the {b} come?", "What came {n} days ago?"),
    ("we have {n} of the {b}", "How many do we have of the {b}?", "Of what do we have {n}?"),
    ("the {b} is {n} metres long", "How long is the {b}?", "Which one measures {n} metres?"),
)
_JOINS = (". ", ", ", "; ", " and ", ", while ")
_LEADS = ("", "", "Listen: ", "Here is what I know: ", "Remember that ", "Yesterday I read that ", "In this story, ")


def _asked(rng: random.Random, facts: list[str], question: str) -> str:
    text = rng.choice(_LEADS) + rng.choice(_JOINS).join(facts) + "."
    return f"{question} {text}" if rng.random() < 0.15 else f"{text[0].upper()}{text[1:]} {question}"


def _relation(rng: random.Random, lexicon: Lexicon) -> Checkable:
    fact, ask_person, ask_thing, sort = rng.choice(_RELATIONS)
    num_facts = rng.choice((2, 3, 3, 4))
    people, things = distinct(rng, lexicon, num_facts + 1, "person"), distinct(rng, lexicon, num_facts + 1, sort)
    facts = [fact.format(a=a, b=b) for a, b in zip(people[:-1], things, strict=False)]
    which = rng.randrange(num_facts)
    person, thing = people[which], things[which]
    if rng.random() < 0.5:
        pool, question, right = people, ask_person.format(b=thing), person
    else:
        pool, question, right = things, ask_thing.format(a=person), thing
    return Checkable(_asked(rng, facts, question), right, others(rng, pool, right))


def _counted(rng: random.Random, lexicon: Lexicon) -> Checkable:
    fact, ask_number, ask_thing = rng.choice(_COUNTED)
    num_facts = rng.choice((2, 3, 3))
    things = distinct(rng, lexicon, num_facts + 1)
    numbers = [str(number) for number in rng.sample(range(2, rng.choice((20, 100, 1000))), num_facts + 1)]
    facts = [fact.format(b=b, n=n) for b, n in zip(things[:-1], numbers, strict=False)]
    which = rng.randrange(num_facts)
    if rng.random() < 0.65:
        question, pool, right = ask_number.format(b=things[which]), numbers, numbers[which]
    else:
        question, pool, right = ask_thing.format(n=numbers[which]), things, things[which]
    return Checkable(_asked(rng, facts, question), right, others(rng, pool, right))


def _is_it_so(rng: random.Random, lexicon: Lexicon) -> Checkable:
    fact, _, _, sort = rng.choice(_RELATIONS)
    people, things = distinct(rng, lexicon, 3, "person"), distinct(rng, lexicon, 3, sort)
    which, is_so = rng.randrange(3), rng.random() < 0.5
    asked = things[which] if is_so else others(rng, things, things[which])[0]
    facts = [fact.format(a=a, b=b) for a, b in zip(people, things, strict=True)]
    question = "Is it true that " + fact.format(a=people[which], b=asked) + "?"
    right, wrong = ("yes", "no") if is_so else ("no", "yes")
    return Checkable(_asked(rng, facts, question), right, (wrong, wrong))


def _next_in_list(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = distinct(rng, lexicon, rng.randint(3, 6))
    which = rng.randrange(len(words) - 1)
    if rng.random() < 0.5:
        asked, right = words[which], words[which + 1]
        question = rng.choice(("What comes right after {w} in this list: {l}?", "In {l}, what follows {w}?"))
    else:
        asked, right = words[which + 1], words[which]
        question = rng.choice(("What comes right before {w} in this list: {l}?", "In {l}, what precedes {w}?"))
    return Checkable(question.format(w=asked, l=listed(words)), right, others(rng, words, right))


def _missing(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = distinct(rng, lexicon, rng.randint(3, 5))
    right = rng.choice(words)
    got = [word for word in words if word != right]
    rng.shuffle(got)
    question = rng.choice(
        ("I needed {l} and came home with {g}. What did I forget?", "Of {l}, I have used {g}. What is left?")
    )
    return Checkable(question.format(l=listed(words), g=listed(got)), right, others(rng, got, right))


def _named(rng: random.Random, lexicon: Lexicon) -> Checkable:
    name, *strangers = distinct(rng, lexicon, 3, "person")
    job, *jobs = distinct(rng, lexicon, 3, "job")
    place, *places = distinct(rng, lexicon, 3, "place")
    asked, right, wrong = rng.choice(
        (
            ("What is my name?", name, strangers),
            ("What do I do for a living?", job, jobs),
            ("Where do I come from?", place, places),
        )
    )
    told = rng.choice(("I am {n}, a {j} from the {p}.", "My name is {n}, I come from the {p}, and I am a {j}."))
    return Checkable(f"{told.format(n=name, j=job, p=place)} {asked}", right, tuple(wrong))


def _code_word(rng: random.Random, lexicon: Lexicon) -> Checkable:
    signs, meanings = distinct(rng, lexicon, 3, "animal"), distinct(rng, lexicon, 4, rng.choice(("food", "tool")))
    facts = [f"{a} means {b}" for a, b in zip(signs, meanings, strict=False)]
    which = rng.randrange(3)
    question = f"What does {signs[which]} mean?"
    return Checkable(_asked(rng, facts, question), meanings[which], others(rng, meanings, meanings[which]))


def _more_of(rng: random.Random, lexicon: Lexicon) -> Checkable:
    people, numbers = distinct(rng, lexicon, 2, "person"), rng.sample(range(1, 60), 2)
    thing = lexicon.draw(rng, "thing")
    wants_more = rng.random() < 0.5
    best = numbers.index(max(numbers) if wants_more else min(numbers))
    facts = [f"{p} has {n} {thing}s" for p, n in zip(people, numbers, strict=True)]
    question = "Who has more?" if wants_more else "Who has fewer?"
    return Checkable(_asked(rng, facts, question), people[best], (people[1 - best], str(max(numbers) + 1)))


def _subtraction(rng: random.Random, lexicon: Lexicon) -> Checkable:
    a, b = sorted(rng.sample(range(1, 13), 2), reverse=True)
    question = rng.choice(
        ("What is {a} minus {b}?", "Take {b} away from {a}.", "I had {a} nuts and ate {b}. How many now?")
    )
    pool = [str(n) for n in range(max(0, a - b - 4), a - b + 5)]
    return Checkable(question.format(a=a, b=b), str(a - b), others(rng, pool, str(a - b)))


def _chosen(rng: random.Random, lexicon: Lexicon) -> Checkable:
    person, sort = lexicon.draw(rng, "person", invented_share=0.2), rng.choice(THINGS)
    words = distinct(rng, lexicon, 3, sort)
    right, *wrong = rng.sample(words, 3)
    told = f"{person} looked at the {words[0]}, the {words[1]} and the {words[2]} and took the {right}."
    ask = rng.choice(("What did {p} take?", "Which one did {p} choose in the end?")).format(p=person)
    return Checkable(f"{told} {ask}", right, tuple(wrong))


def _without(rng: random.Random, lexicon: Lexicon) -> Checkable:
    words = distinct(rng, lexicon, rng.randint(3, 5))
    gone = rng.choice(words)
    right = [word for word in words if word != gone]
    question = rng.choice(
        ("Repeat this list without {w}: {l}.", "Here is a list: {l}. Leave out {w} and write it again.")
    )
    other = [word for word in words if word != rng.choice(right)]
    shifted = [*right[1:], right[0]]
    return Checkable(
        question.format(w=gone, l=", ".join(words)), ", ".join(right), (", ".join(other), ", ".join(shifted))
    )


LOOKUP_KINDS: Mapping[str, Draw] = {
    "relation": _relation,
    "relation_again": _relation,
    "counted": _counted,
    "is_it_so": _is_it_so,
    "next_in_list": _next_in_list,
    "missing": _missing,
    "named": _named,
    "code_word": _code_word,
    "more_of": _more_of,
    "subtraction": _subtraction,
    "chosen": _chosen,
    "without": _without,
}
"""Kinds by name; relations twice, because they are the most varied."""
