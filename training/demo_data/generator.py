"""Draws seven-wise rankings whose order follows a stated rule.

Rule: every answer is written with exactly one known defect (or none), and a ranking orders answers by
`answers.WEIGHTS`; equal weights are ties. An answer is thus good if it talks about what the prompt asks,
gives every asked-for part, is correct where that can be checked, and is neither repetitive, nonsense, nor
rude. Its length is drawn first and independently, so that neither "longer" nor "shorter" predicts the order.

No two splits share a question kind, a wording (bank entry or phrase) or a topic word. Everything is a
function of (seed, split, index). Knows nothing of tokens or models.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from service.types import Message
from training.demo_data.answers import WEIGHTS, AnswerWriter, Defect, Task
from training.demo_data.bank import Entry, Fill, fill_once, load_bank, load_phrases
from training.demo_data.dresses import Dresser
from training.demo_data.exchanges import KIND, load_exchanges, task_of
from training.demo_data.kinds import kinds_of
from training.demo_data.lexicon import Lexicon, Split, load_lexicon
from training.demo_data.rewording import Reworder
from training.rankings import Ranking

__all__ = ["NUM_ANSWERS", "Generator", "generate"]

NUM_ANSWERS = 7
"""Answers in a ranking, as in Nectar."""
_CHECKABLE_SHARES = {Split.TRAIN: 0.35, Split.HELD_OUT: 0.25, Split.TEST: 0.25}
"""Enough that false answers are a fair share of all pairs (about 6 %) without crowding out open questions; more of
them in training, where they are the slowest to learn."""
_MIXED_SHARE = 0.15
_INVENTED_SHARE = 0.4
"""Share of invented topics: no model can memorise them, so it has to compare answer and prompt."""
_NUM_WITH_FEW_DRESSES = 14_000
"""Training rankings that come before answers get sentences drawn anew (`dresses.py`)."""
_MANY_TURNS_SHARE = 0.08
_OPEN_WORDS, _CHECKABLE_WORDS, _EXCHANGE_WORDS = (3, 45), (3, 20), (12, 75)
"""How short and how long answers may be."""
_LONG_SHARE = 0.006
"""Rankings with 600 to 1,500 tokens a row; they cost fifteen times an ordinary one, so there are few."""
_OPEN_DEFECTS: tuple[Defect, ...] = (
    Defect.UNFINISHED,
    Defect.REPETITIVE,
    Defect.GARBLED,
    Defect.INSULTING,
    Defect.EVASIVE,
    Defect.RUDE,
    Defect.GIBBERISH,
)
_CHECKABLE_DEFECTS: tuple[Defect, ...] = (
    Defect.REPETITIVE,
    Defect.INSULTING,
    Defect.EVASIVE,
    Defect.OFF_TOPIC,
    Defect.RUDE,
    Defect.GIBBERISH,
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is drawn before any answer: how long answers may be and how many turns come first."""

    min_words: int
    max_words: int
    num_earlier_turns: int
    earlier_words: int


class Generator:
    """Draws the rankings of one split; `ranking(i)` depends on (seed, split, i, exchange share) alone.

    Attributes:
        dresser: What gives checkable answers their sentences.
    """

    def __init__(self, seed: int, split: Split, exchange_share: float = 0.0) -> None:
        """`exchange_share`: of open questions, those that are exchanges (`exchanges.py`)."""
        self._seed = seed
        self._exchange_share = exchange_share
        self._exchanges = load_exchanges(split) if exchange_share else []
        self._lexicon: Lexicon = load_lexicon(split)
        self._phrases = load_phrases(split)
        self._bank: list[Entry] = load_bank(split)
        self._kinds = kinds_of(split)
        self._writer = AnswerWriter(self._lexicon, self._phrases)
        self._maybe_reworder = self._reworder() if split is Split.TRAIN else None
        self.dresser = Dresser(self._lexicon, self._phrases, self._maybe_reworder)

    def ranking(self, index: int) -> Ranking:
        """Draw one ranking: a conversation and seven answers, best first, with kind and defects."""
        rng = random.Random(f"{self._seed}/{self._lexicon.split}/{index}")
        drawn = self._drawn(rng, self._maybe_reworder is not None and index >= _NUM_WITH_FEW_DRESSES)
        if self._maybe_reworder is None or drawn.kind in (*self._kinds, KIND):  # other words would make it untrue
            return drawn
        return self._maybe_reworder.reword(rng, drawn)

    def _reworder(self) -> Reworder:
        sentences = [text for entry in self._bank for part in (entry.questions, *entry.parts) for text in part]
        carriers = [text for section in ("rude", "evasive") for text in self._phrases[section]]
        return Reworder.over(self._lexicon, sentences, carriers)

    def _drawn(self, rng: random.Random, has_many_dresses: bool) -> Ranking:
        is_checkable = rng.random() < _CHECKABLE_SHARES[self._lexicon.split]
        task, twin = self._checkable_task(rng, has_many_dresses) if is_checkable else self._open_task(rng)
        words = _CHECKABLE_WORDS if is_checkable else _EXCHANGE_WORDS if task.kind == KIND else _OPEN_WORDS
        shape = _draw_shape(rng, words, is_checkable)
        earlier = [self._open_task(rng)[0] for _ in range(shape.num_earlier_turns)]
        answers = [
            (defect, self._answer(rng, defect, task, twin, earlier, _draw_length(rng, shape)))
            for defect in _draw_defects(rng, task)
        ]
        rng.shuffle(answers)
        answers.sort(key=lambda answer: WEIGHTS[answer[0]])
        return Ranking(
            messages=(
                *self._earlier_turns(rng, earlier, shape),
                Message("user", self._greeted(rng, task.question)),
            ),
            answers=tuple(text for _, text in answers),
            tiers=tuple(WEIGHTS[defect] for defect, _ in answers),
            kind=task.kind,
            defects=tuple(defect.value for defect, _ in answers),
        )

    def _answer(
        self, rng: random.Random, defect: Defect, task: Task, twin: Task, earlier: list[Task], num_words: int
    ) -> str:
        other = self._other_task(rng, twin, earlier)
        text = self._writer.write(rng, defect, task, other, num_words)
        return text.lower() if rng.random() < 0.04 else text

    def _other_task(self, rng: random.Random, twin: Task, earlier: list[Task]) -> Task:
        """Choose what an off-topic answer answers: the question's twin, an earlier turn, or any question."""
        chance = rng.random()
        if earlier and chance < 0.4:
            return rng.choice(earlier)
        if chance < 0.65:
            return twin
        return self._open_task(rng)[0]

    def _open_task(self, rng: random.Random) -> tuple[Task, Task]:
        """Draw an open question, and its twin about other topics."""
        if self._exchange_share and rng.random() < self._exchange_share:
            return task_of(rng, self._exchanges), task_of(rng, self._exchanges)
        if rng.random() < _MIXED_SHARE:
            return self._mixed_task(rng), self._mixed_task(rng)
        entry = rng.choice(self._bank)
        first = self._filled(rng, entry, avoid=[])
        return first, self._filled(rng, entry, avoid=[first.topic])

    def _filled(self, rng: random.Random, entry: Entry, avoid: list[str]) -> Task:
        question = rng.choice(entry.questions)
        sentences = [sentence for part in entry.parts for sentence in part]
        fill = Fill.draw(rng, self._lexicon, [question, *sentences], _INVENTED_SHARE)
        while fill.topics[0] in avoid:
            fill = Fill.draw(rng, self._lexicon, [question, *sentences], _INVENTED_SHARE)
        parts = tuple(tuple(fill.apply(sentence) for sentence in part) for part in entry.parts)
        return Task(entry.kind, fill.apply(question), parts, topic=fill.topics[0])

    def _mixed_task(self, rng: random.Random) -> Task:
        """Draw a question and answers with random words; both are about one topic."""
        sort = rng.choice([sort for sort in self._lexicon.words if sort not in ("person", "adj", "adverb", "verb")])
        topic = self._lexicon.draw(rng, sort, invented_share=_INVENTED_SHARE)
        wordings = [rng.choice(self._phrases["mixed_question"]), *rng.sample(self._phrases["filler"], 4)]
        question, *sentences = (fill_once(rng, self._lexicon, wording, topic) for wording in wordings)
        return Task(f"mixed_{self._lexicon.split}", question, (tuple(sentences),), topic=topic)

    def _checkable_task(self, rng: random.Random, has_many_dresses: bool) -> tuple[Task, Task]:
        kind = rng.choice(list(self._kinds))
        dresses = self.dresser.many(rng) if has_many_dresses else self.dresser.few
        return self._dressed(rng, kind, dresses), self._dressed(rng, rng.choice(list(self._kinds)), dresses)

    def _dressed(self, rng: random.Random, kind: str, dresses: list[str]) -> Task:
        drawn = self._kinds[kind](rng, self._lexicon)
        right = tuple(dress.replace("{a}", drawn.right) for dress in dresses)
        wrong = tuple(dress.replace("{a}", value) for value in drawn.wrong for dress in dresses)
        return Task(kind, drawn.question, (right,), wrong=wrong)

    def _earlier_turns(self, rng: random.Random, earlier: list[Task], shape: _Shape) -> list[Message]:
        turns = []
        for task in earlier:
            turns.append(Message("user", self._greeted(rng, task.question)))
            turns.append(Message("assistant", self._writer.sound(rng, task, shape.earlier_words)))
        return turns

    def _greeted(self, rng: random.Random, question: str) -> str:
        if rng.random() < 0.12:
            greeting = rng.choice(self._phrases["greeting"])
            question = f"{question} {greeting}" if "hanks" in greeting else f"{greeting} {question}"
        return question.lower().rstrip("?.") if rng.random() < 0.05 else question


def generate(
    seed: int, split: Split, num_rankings: int, *, first: int = 0, exchange_share: float = 0.0
) -> Iterator[Ranking]:
    """Yield rankings of a split from the `first` on; the same arguments give the same bytes."""
    generator = Generator(seed, split, exchange_share)
    for index in range(first, first + num_rankings):
        yield generator.ranking(index)


def _draw_defects(rng: random.Random, task: Task) -> list[Defect]:
    """Two sound answers, the defects this kind of question is about, and a draw of the others."""
    if task.wrong:
        others = _CHECKABLE_DEFECTS
        fixed = [Defect.NONE, Defect.NONE, Defect.WRONG, Defect.WRONG]
    elif task.replies:
        others = tuple(defect for defect in _OPEN_DEFECTS if defect != Defect.RUDE)
        fixed = [Defect.NONE, Defect.NONE, Defect.OFF_TOPIC, Defect.RUDE, Defect.RUDE]
    else:
        others = _OPEN_DEFECTS
        fixed = [Defect.NONE, Defect.NONE, Defect.OFF_TOPIC, Defect.OFF_TOPIC]
        if len(task.parts) > 1:
            fixed.append(Defect.INCOMPLETE)
    return fixed + rng.sample(others, NUM_ANSWERS - len(fixed))


def _draw_shape(rng: random.Random, words: tuple[int, int], is_checkable: bool) -> _Shape:
    """Choose lengths and turns; a few rankings are long, either by their history or by their answers."""
    chance = rng.random()
    if chance < _LONG_SHARE / 2:
        return _Shape(5, 60, num_earlier_turns=rng.randint(6, 12), earlier_words=rng.randint(50, 90))
    if chance < _LONG_SHARE and not is_checkable:
        return _Shape(250, 900, num_earlier_turns=0, earlier_words=0)
    num_earlier = rng.randint(1, 2) if chance < _LONG_SHARE + _MANY_TURNS_SHARE else 0
    return _Shape(*words, num_earlier_turns=num_earlier, earlier_words=rng.randint(8, 20))


def _draw_length(rng: random.Random, shape: _Shape) -> int:
    """Draw a length in words, even on a logarithmic scale: short answers differ by few words."""
    return round(math.exp(rng.uniform(math.log(shape.min_words), math.log(shape.max_words))))
