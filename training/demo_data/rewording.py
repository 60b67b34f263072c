"""Gives a ranking other words: the same ones in the prompt and in every answer.

A few hundred hand-written sentences are soon known by heart, and then unknown wording looks bad. So most training
rankings get most of their content words replaced, consistently, by other real words or by invented ones: what is
left to learn is what the rule is about (which words come back, where, and how often), not the sentences. Words of
the phrases that carry rudeness and evasion, short words and common function words stay. Training only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from service.types import Message
from training.demo_data.lexicon import Lexicon
from training.rankings import Ranking

__all__ = ["Reworder"]

_WORD = re.compile(r"[A-Za-z]{4,}")
_REWORDED_SHARE = 0.6
"""Share of rankings that are reworded at all; the rest keeps natural sentences."""
_INVENTED_SHARE = 0.3
_ENDINGS = ("ing", "ed", "es", "ly", "s")
_COMMON_WORDS = """
    about after again also always another because been before being below best better between both cannot could
    does doing done down each either else enough even ever every first from give goes have having here how however into
    isn just keep kept know last later least less like little look made make many maybe mean more most much must
    near need never next none nothing often once only other over part please quite rather really said same seem
    several shall should since some something sometimes soon still such take tell than thank thanks that their them
    then there these they thing things think this those though through time together under until upon used using
    usually very want well were what when where whether which while will with without word words work would write
    year years your yours"""
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(frozen=True, slots=True)
class Reworder:
    """Rewords rankings of one split.

    Attributes:
        lexicon: Makes up words that belong to the split.
        pool: Real words to put in place of others.
        kept: Lower-case words that are never replaced.
    """

    lexicon: Lexicon
    pool: tuple[str, ...]
    kept: frozenset[str]

    @classmethod
    def over(cls, lexicon: Lexicon, texts: Iterable[str], kept_texts: Iterable[str]) -> Reworder:
        """Take the pool from texts and the words to keep from others."""
        kept = _COMMON | {word.lower() for text in kept_texts for word in _WORD.findall(text)}
        topics = (word for words in lexicon.words.values() for word in words)
        pool = {word.lower() for text in (*texts, *topics) for word in _WORD.findall(text)}
        return cls(lexicon, tuple(sorted(pool - kept)), kept)

    def reword(self, rng: random.Random, ranking: Ranking) -> Ranking:
        """The ranking with a random part of its content words replaced, the same ones everywhere in it."""
        change = self.changing(rng)
        return ranking if change is None else _mapped(ranking, change)

    def changing(self, rng: random.Random) -> Callable[[str], str] | None:
        """Draw which words to replace by which; None where none are."""
        if rng.random() >= _REWORDED_SHARE:
            return None
        share = rng.uniform(0.2, 1.0)
        words: dict[str, str] = {}

        def other(match: re.Match[str]) -> str:
            word = match[0].lower()
            if word not in words:
                words[word] = self._other_word(rng, word) if rng.random() < share else word
            return _cased_like(match[0], words[word])

        return lambda text: _WORD.sub(other, text)

    def _other_word(self, rng: random.Random, word: str) -> str:
        if word in self.kept:
            return word
        if rng.random() >= _INVENTED_SHARE:
            return rng.choice(self.pool)
        ending = next((ending for ending in _ENDINGS if word.endswith(ending)), "")
        return self.lexicon.invent(rng) + ending


def _mapped(ranking: Ranking, change: Callable[[str], str]) -> Ranking:
    messages = tuple(Message(message.role, change(message.content)) for message in ranking.messages)
    return replace(ranking, messages=messages, answers=tuple(map(change, ranking.answers)))


def _cased_like(old: str, new: str) -> str:
    if old.isupper():
        return new.upper()
    return new.capitalize() if old[0].isupper() else new
