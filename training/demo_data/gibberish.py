"""Text that says nothing, in several ways: random letters, keyboard runs, shuffled words, and more.

Each way is a function of a generator, the words of a good answer, and a wished length in words. One way
(`_reversed_words`) is kept for the held-out split, and one (`_no_vowels`) for the test split. Knows nothing of
prompts or scores.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from training.demo_data.lexicon import FILLER_SORTS, Lexicon, Split

__all__ = ["gibberish"]

_KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890")
_FUNCTION_WORDS = (  # noqa: SIM905 - readable
    "the a of to and in is it you that for on with as at by this but from or have an they which one "
    "were all we when there can more if out so up into than them only its then two how our any may "
    "after most where because"
).split()
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WITHOUT_VOWELS = str.maketrans("", "", "aeiou")
_NOISE = _LETTERS + _LETTERS + "0123456789"

Way = Callable[[random.Random, Lexicon, list[str], int], list[str]]


def gibberish(rng: random.Random, lexicon: Lexicon, good: str, num_words: int) -> str:
    """Write about `num_words` words of nonsense; `good` is a sound answer that some ways take apart."""
    words = rng.choice(_WAYS_OF[lexicon.split])(rng, lexicon, good.split(), max(3, num_words))
    return _punctuated(rng, words) if rng.random() < 0.7 else " ".join(words)


def _random_letters(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    alphabet = rng.choice((_LETTERS, _NOISE, "bcdfghjklmnpqrstvwxz"))
    return ["".join(rng.choices(alphabet, k=rng.randint(1, 8))) for _ in range(num_words)]


def _keyboard(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    words = []
    for _ in range(num_words):
        row = rng.choice(_KEY_ROWS[:3])
        start = rng.randrange(len(row) - 3)
        run = row[start : start + rng.randint(3, 6)]
        words.append(run[::-1] if rng.random() < 0.3 else run)
    return words


def _invented(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    return [lexicon.invent(rng) for _ in range(num_words)]


def _shuffled(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    words = [word.strip(".,;:!?\"'").lower() for word in good]
    if len(words) < 4:
        return _salad(rng, lexicon, good, num_words)
    pool = words * (num_words // len(words) + 1)
    return rng.sample(pool, num_words)


def _salad(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    sorts = [*FILLER_SORTS, "animal", "tool", "food", "place", "nature"]
    words = []
    for _ in range(num_words):
        is_function_word = rng.random() < 0.45
        words.append(rng.choice(_FUNCTION_WORDS) if is_function_word else lexicon.draw(rng, rng.choice(sorts)))
    return words


def _stutter(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    letters = [word.strip(".,").lower()[: rng.randint(1, 3)] for word in rng.choices(good, k=num_words)]
    return [letter * rng.randint(1, 4) for letter in letters]


def _scrambled_letters(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    return ["".join(rng.sample(word, len(word))) for word in _to_length(rng, good, num_words)]


def _moved_borders(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    """Keep the letters and cut them at other places, some pieces swapped."""
    letters = "".join(word.strip(".,").lower() for word in _to_length(rng, good, num_words))
    pieces = []
    while letters:
        size = rng.randint(2, 8)
        pieces.append(letters[:size])
        letters = letters[size:]
    rng.shuffle(pieces)
    return pieces


def _reversed_words(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    return [word[::-1] for word in _to_length(rng, good, num_words)]


def _no_vowels(rng: random.Random, lexicon: Lexicon, good: list[str], num_words: int) -> list[str]:
    bare = [word.lower().translate(_WITHOUT_VOWELS).strip(".,") or "h" for word in _to_length(rng, good, num_words)]
    return rng.sample(bare, len(bare))


def _to_length(rng: random.Random, good: list[str], num_words: int) -> list[str]:
    start = rng.randrange(max(1, len(good) - num_words + 1))
    repeats = num_words // len(good) + 1
    return (good * repeats)[start : start + num_words] or good


def _punctuated(rng: random.Random, words: list[str]) -> str:
    """Cut words into things that look like sentences."""
    sentences = []
    while words:
        size = rng.randint(4, 14)
        sentence, words = " ".join(words[:size]), words[size:]
        if "," not in sentence and rng.random() < 0.4:
            sentence = sentence.replace(" ", ", ", 1)
        sentences.append(sentence[:1].upper() + sentence[1:] + rng.choice("....?!"))
    return " ".join(sentences)


_WAYS: tuple[Way, ...] = (
    _random_letters,
    _keyboard,
    _invented,
    _shuffled,
    _shuffled,
    _shuffled,
    _salad,
    _salad,
    _stutter,
    _scrambled_letters,
    _moved_borders,
)
"""Word order is the hardest to learn, so shuffling and salad come more often."""
_WAYS_OF: Mapping[Split, tuple[Way, ...]] = {
    Split.TRAIN: _WAYS,
    Split.HELD_OUT: (*_WAYS, _reversed_words),
    Split.TEST: (*_WAYS, _no_vowels),
}
