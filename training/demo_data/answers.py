"""Writes one answer with one known defect, about as long as it is told to be.

A `Task` says what a question asks for and which sentences answer it. `AnswerWriter` has one method for each
`Defect`. Length is an input, never a consequence of the defect, so that it is no shortcut. Quality is
`-WEIGHTS[defect]`: four grades that we chose and state here, from a sound answer to none at all.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from training.demo_data.bank import fill_once
from training.demo_data.gibberish import gibberish
from training.demo_data.lexicon import Lexicon

__all__ = ["WEIGHTS", "AnswerWriter", "Defect", "Task"]


class Defect(StrEnum):
    """What is wrong with an answer; each generated answer has exactly one of these."""

    NONE = "none"
    UNFINISHED = "unfinished"
    INCOMPLETE = "incomplete"
    REPETITIVE = "repetitive"
    WRONG = "wrong"
    GARBLED = "garbled"
    INSULTING = "insulting"
    EVASIVE = "evasive"
    OFF_TOPIC = "off_topic"
    RUDE = "rude"
    GIBBERISH = "gibberish"


_TIERS: tuple[tuple[Defect, ...], ...] = (
    (Defect.NONE,),
    (Defect.UNFINISHED, Defect.INCOMPLETE, Defect.REPETITIVE),
    (Defect.WRONG, Defect.GARBLED, Defect.INSULTING, Defect.EVASIVE),
    (Defect.OFF_TOPIC, Defect.RUDE, Defect.GIBBERISH),
)
WEIGHTS: Mapping[Defect, int] = {defect: weight for weight, tier in enumerate(_TIERS) for defect in tier}
"""How bad a defect is. 0: a sound answer. 1: a sound answer badly given, so that most of what was asked for is there:
`unfinished` (stops in mid-sentence), `incomplete` (one asked-for part missing), `repetitive`. 2: about the question,
but not to be used: `wrong` (false where that can be checked), `garbled` (half of it nonsense), `insulting` (sound,
with an insult), `evasive` (polite, says nothing). 3: no answer to it: `off_topic` (answers another question), `rude`
(insults instead of an answer), `gibberish`. Within a weight people would not agree, so those answers are tied."""


_REPLY_SHARE = 0.85
"""Rude answers that are a reply written for the purpose, where there are any."""


@dataclass(frozen=True, slots=True)
class Task:
    """A question and what it takes to answer it.

    Attributes:
        kind: What sort of question it is.
        question: The user's turn.
        parts: For each asked-for part, sentences that answer it; a checkable question has one part.
        wrong: Sentences that answer a checkable question falsely; empty for open questions.
        topic: The main topic, for sentences about it; empty for checkable questions.
        replies: Rude replies to it; empty if phrases have to do.
    """

    kind: str
    question: str
    parts: tuple[tuple[str, ...], ...]
    wrong: tuple[str, ...] = ()
    topic: str = ""
    replies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerWriter:
    """Writes answers from the words and wordings of one split."""

    lexicon: Lexicon
    phrases: Mapping[str, Sequence[str]]

    def write(self, rng: random.Random, defect: Defect, task: Task, other: Task, num_words: int) -> str:
        """Write an answer to `task` of about `num_words` words; `other` is what an off-topic one answers."""
        match defect:
            case Defect.NONE:
                return self.sound(rng, task, num_words)
            case Defect.UNFINISHED:
                return _cut_short(rng, self.sound(rng, task, max(12, num_words)))
            case Defect.INCOMPLETE:
                return self._incomplete(rng, task, num_words)
            case Defect.REPETITIVE:
                return self._repetitive(rng, task, num_words)
            case Defect.WRONG:
                return _of_length(rng, task.wrong, num_words)
            case Defect.GARBLED:
                return self._garbled(rng, task, num_words)
            case Defect.INSULTING:
                return self._insulting(rng, task, num_words)
            case Defect.EVASIVE:
                return self._from_section(rng, "evasive", task, num_words)
            case Defect.OFF_TOPIC:
                return self.sound(rng, other, num_words)
            case Defect.RUDE:
                return self._rude(rng, task, other, num_words)
            case Defect.GIBBERISH:
                return gibberish(rng, self.lexicon, self.sound(rng, task, num_words), num_words)

    def sound(self, rng: random.Random, task: Task, num_words: int) -> str:
        """Answer every part; pad with sentences about the topic, or plain ones, up to the wished length."""
        if not task.topic:
            return _of_length(rng, task.parts[0], num_words)
        budget = max(1, num_words // len(task.parts))
        picked = [self._part(rng, task, part, budget) for part in task.parts]
        return self._dressed(rng, [sentence for sentences in picked for sentence in sentences])

    def _part(self, rng: random.Random, task: Task, part: Sequence[str], num_words: int) -> list[str]:
        """Pick sentences of a part in their order, the first one being about the topic."""
        first = rng.choice([i for i, text in enumerate(part) if _mentions(text, task.topic)] or [0])
        order = [first, *rng.sample([i for i in range(len(part)) if i != first], len(part) - 1)]
        chosen = [first]
        for index in order[1:]:
            if _num_words(part[i] for i in chosen) + _num_words([part[index]]) // 2 > num_words:
                break
            chosen.append(index)
        sentences = [part[i] for i in sorted(chosen)]
        while _num_words(sentences) + 8 < num_words or (num_words > 25 and rng.random() < 0.15):
            sentences.insert(rng.randint(1, len(sentences)), self._padding(rng, task))
        return sentences

    def _padding(self, rng: random.Random, task: Task) -> str:
        section = "filler" if rng.random() < 0.35 else "plain"
        return fill_once(rng, self.lexicon, rng.choice(self.phrases[section]), task.topic)

    def _dressed(self, rng: random.Random, sentences: list[str]) -> str:
        """Add an opening or closing now and then, and choose how the sentences are joined."""
        if rng.random() < 0.12:
            sentences = [rng.choice(self.phrases["opening"]), *sentences]
        if rng.random() < 0.12:
            sentences = [*sentences, rng.choice(self.phrases["closing"])]
        style = rng.random()
        if style < 0.85 or len(sentences) < 3:
            return " ".join(sentences)
        return "\n".join(sentences) if style < 0.9 else "\n".join(f"- {sentence}" for sentence in sentences)

    def _incomplete(self, rng: random.Random, task: Task, num_words: int) -> str:
        return self._dressed(rng, self._part(rng, task, rng.choice(task.parts), num_words))

    def _repetitive(self, rng: random.Random, task: Task, num_words: int) -> str:
        sentence = self.sound(rng, task, 6)
        if rng.random() < 0.4 or num_words < 12:
            words = sentence.split()
            sentence = " ".join(words[: rng.randint(1, min(4, len(words)))])
        repeats = max(2 if _num_words([sentence]) > 6 else 3, round(num_words / _num_words([sentence])))
        return " ".join([sentence] * repeats)

    def _garbled(self, rng: random.Random, task: Task, num_words: int) -> str:
        half = max(4, num_words // 2)
        sound = self.sound(rng, task, half)
        halves = [sound, gibberish(rng, self.lexicon, sound, half)]
        rng.shuffle(halves)
        return " ".join(halves)

    def _insulting(self, rng: random.Random, task: Task, num_words: int) -> str:
        pieces = [self.sound(rng, task, max(4, num_words - 8)), self._from_section(rng, "rude", task, 5)]
        rng.shuffle(pieces)
        return " ".join(pieces)

    def _rude(self, rng: random.Random, task: Task, other: Task, num_words: int) -> str:
        if task.replies and rng.random() < _REPLY_SHARE:
            return _of_length(rng, task.replies, num_words)
        if num_words < 15 or rng.random() < 0.7:
            return self._from_section(rng, "rude", task, num_words)
        rest = self.sound(rng, other, num_words // 2)
        pieces = [rest, self._from_section(rng, "rude", task, num_words // 2)]
        rng.shuffle(pieces)
        return " ".join(pieces)

    def _from_section(self, rng: random.Random, section: str, task: Task, num_words: int) -> str:
        """String sentences of a section together, none twice, until the length is reached."""
        topic = task.topic or rng.choice(task.question.strip("?.!").split()).lower()
        sentences: list[str] = []
        for phrase in rng.sample(list(self.phrases[section]), len(self.phrases[section])):
            sentences.append(fill_once(rng, self.lexicon, phrase, topic))
            if _num_words(sentences) + 3 >= num_words:
                break
        return " ".join(sentences)


def _mentions(sentence: str, topic: str) -> bool:
    return topic.lower() in sentence.lower()


def _num_words(sentences: Iterable[str]) -> int:
    return sum(len(sentence.split()) for sentence in sentences)


def _of_length(rng: random.Random, choices: Sequence[str], num_words: int) -> str:
    """Choose one of the three texts whose length is nearest the wished one."""
    return rng.choice(sorted(choices, key=lambda text: abs(len(text.split()) - num_words))[:3])


def _cut_short(rng: random.Random, text: str) -> str:
    words = text.split()
    last_sentence = len(text[: text.rstrip(".!?").rfind(". ") + 1].split())
    lowest = min(last_sentence + 1, len(words) - 2)
    return " ".join(words[: rng.randint(max(1, lowest), len(words) - 1)]).rstrip(".!?,")
