"""Generated questions and answers: small enough for a tiny policy to write fluently after a minute of training.

Every question is one of `KINDS` about one of `TOPICS`. An answer is drawn in one of `BEHAVIOURS`, all equally often:
that mixture is what the policy imitates before GRPO. The demo reward model has seen none of these sentences.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

TOPICS: tuple[str, ...] = (
    *("kettle", "bicycle", "drum", "lamp", "coat", "window", "carpet", "knife", "boot", "clock", "basket"),
    *("ladder", "pillow", "teapot", "hammer", "mirror", "guitar", "umbrella", "bucket", "saddle", "curtain"),
    *("wallet", "chair", "candle", "bottle", "scarf", "tent", "pencil", "broom", "helmet", "oven", "piano"),
)

KINDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("How do I clean a {x}?", "What is the best way to wash a {x}?"),
        (
            "Wipe the {x} with a damp cloth and a little soap.",
            "Warm water and vinegar take most stains off a {x}.",
            "Brush the dust off first, then dry the {x} well.",
            "A {x} should be cleaned by hand and never soaked.",
        ),
    ),
    (
        ("Where should I keep my {x} in winter?", "How do I store a {x} over the winter?"),
        (
            "Keep the {x} in a dry room that stays above freezing.",
            "Wrap the {x} in an old sheet so that no dust gets in.",
            "Cold air does not harm a {x}, but damp air does.",
            "Put the {x} on a shelf, away from the floor.",
        ),
    ),
    (
        ("How do I choose a good {x}?", "What should I look for when I buy a {x}?"),
        (
            "Look at how the {x} is put together before you look at the price.",
            "A good {x} feels solid and has no sharp edges.",
            "Ask how long the {x} is guaranteed, and who repairs it.",
            "Try the {x} in the shop if they let you.",
        ),
    ),
    (
        ("My {x} is broken. Can I repair it?", "How do I mend a broken {x}?"),
        (
            "Most breaks in a {x} can be mended with strong glue.",
            "Find the broken part of the {x} first and see if it can be replaced.",
            "Let the glue dry for a whole day before you use the {x} again.",
            "If the {x} is old, a repair shop may still have parts.",
        ),
    ),
    (
        ("Is a {x} a good gift for a child?", "Should I give a child a {x}?"),
        (
            "Yes, a {x} is a fine gift if the child is old enough.",
            "A small {x} is better, because children have small hands.",
            "Ask the parents first whether they have room for a {x}.",
            "Show the child how the {x} works on the first day.",
        ),
    ),
    (
        ("What does a {x} cost?", "How much should I pay for a {x}?"),
        (
            "A plain {x} is cheap, and a well made one costs three times as much.",
            "The price of a {x} depends on what it is made of.",
            "A used {x} costs about half of a new one.",
            "In spring a {x} is often sold for less.",
        ),
    ),
    (
        ("Who invented the {x}?", "Where does the {x} come from?"),
        (
            "Nobody knows who made the first {x}, because it is so old.",
            "The {x} was made in many countries at about the same time.",
            "An early {x} looked much simpler than the ones we have today.",
            "Traders brought the {x} along with other goods.",
        ),
    ),
    (
        ("How long does a {x} last?", "When do I need a new {x}?"),
        (
            "A {x} lasts ten years or more if you take care of it.",
            "You need a new {x} when the old one is no longer safe.",
            "How long a {x} lasts depends on how often it is used.",
            "Look at your {x} once a year, and replace what is worn.",
        ),
    ),
)
"""For each kind of question its wordings, and sentences that answer it."""

_EVASIVE = (
    "That is a very interesting question and I am glad you asked.",
    "There are many things one could say about that.",
    "It really depends on what you mean by it.",
    "I would rather not say anything about this today.",
    "Some people think so and others do not.",
)
_RUDE = (
    "What a stupid question.",
    "Find out yourself, you lazy fool.",
    "I have no time for idiots like you.",
    "Shut up and leave me alone.",
    "You are too dumb to understand the answer anyway.",
)
_SYLLABLES = ["zor", "bli", "qua", "nef", "dju", "pla", "kri", "vom", "sut", "gra"]

BEHAVIOURS = ("sound", "off_topic", "evasive", "rude", "repetitive", "unfinished", "gibberish")


@dataclass(frozen=True)
class Question:
    """A kind of question about a topic, in one of its wordings."""

    kind: int
    topic: str
    text: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation so far."""
        return [{"role": "user", "content": self.text}]


def all_questions(seed: int) -> tuple[list[Question], list[Question]]:
    """Returns the questions for training in all wordings, and those held out, in one wording each.

    Held out is one in four pairs of kind and topic: no wording of it occurs in training.
    """
    pairs = [(kind, topic) for kind in range(len(KINDS)) for topic in TOPICS]
    random.Random(f"questions/{seed}").shuffle(pairs)
    cut = len(pairs) // 4
    return _worded(pairs[cut:]), [_worded([pair])[index % 2] for index, pair in enumerate(pairs[:cut])]


def answer(rng: random.Random, question: Question, behaviour: str) -> str:
    """Writes one answer of one or two sentences in a behaviour."""
    if behaviour == "evasive":
        return " ".join(rng.sample(_EVASIVE, rng.randint(1, 2)))
    if behaviour == "rude":
        return " ".join(rng.sample(_RUDE, rng.randint(1, 2)))
    if behaviour == "gibberish":
        words = ("".join(rng.choices(_SYLLABLES, k=rng.randint(1, 2))) for _ in range(rng.randint(5, 10)))
        return " ".join(words) + "."
    if behaviour == "off_topic":
        kind = rng.choice([kind for kind in range(len(KINDS)) if kind != question.kind])
        return _sound(rng, kind, rng.choice([topic for topic in TOPICS if topic != question.topic]))
    if behaviour == "repetitive":
        return " ".join([rng.choice(KINDS[question.kind][1]).format(x=question.topic)] * rng.randint(2, 3))
    whole = _sound(rng, question.kind, question.topic)
    if behaviour == "sound":
        return whole
    words = whole.split()
    cut = words[: rng.randint(len(words) // 2, len(words) - 2)]
    return " ".join(cut[:-1] if cut[-1].endswith(".") else cut)


def behaviour_of(text: str, question: Question) -> str:
    """Names the behaviour of a text that the policy wrote, by its sentences; `other` if it is not one of ours."""
    sentences = [sentence.strip() + "." for sentence in text.split(".") if sentence.strip()]
    own = [sentence.format(x=question.topic) for sentence in KINDS[question.kind][1]]
    foreign = {sentence.format(x=topic) for _, answers in KINDS for sentence in answers for topic in TOPICS} - set(own)
    if not sentences:
        return "other"
    if all(sentence in own for sentence in sentences):
        return "sound" if len(set(sentences)) == len(sentences) else "repetitive"
    if all(sentence in _EVASIVE for sentence in sentences):
        return "evasive"
    if all(sentence in _RUDE for sentence in sentences):
        return "rude"
    if all(sentence in foreign for sentence in sentences):
        return "off_topic"
    if not text.rstrip().endswith(".") and any(whole.startswith(sentences[-1][:-1]) for whole in own):
        return "unfinished"
    if all(_is_gibberish(word) for word in text.strip(" .").split()):
        return "gibberish"
    return "other"


def texts(seed: int, questions: list[Question], num_texts: int) -> Iterator[tuple[Question, str]]:
    """Yields questions with answers of all behaviours."""
    rng = random.Random(f"texts/{seed}")
    for index in range(num_texts):
        question = rng.choice(questions)
        yield question, answer(rng, question, BEHAVIOURS[index % len(BEHAVIOURS)])


def _worded(pairs: list[tuple[int, str]]) -> list[Question]:
    return [Question(kind, topic, wording.format(x=topic)) for kind, topic in pairs for wording in KINDS[kind][0]]


def _sound(rng: random.Random, kind: int, topic: str) -> str:
    return " ".join(sentence.format(x=topic) for sentence in rng.sample(KINDS[kind][1], rng.randint(1, 2)))


def _is_gibberish(word: str) -> bool:
    return re.fullmatch(f"(?:{'|'.join(_SYLLABLES)})+", word) is not None
