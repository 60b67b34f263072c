"""Control strings in user text as plain text, the template's own as control tokens, in one tokenization.

The way there: in what the caller wrote, each control string becomes a mark; the template renders the marked
text (its own trimming and splitting still applies); in the rendering, the control strings that are left are
the template's and get private names, and the marks become the literal strings again. A clone of the tokenizer
(`tokenizer_clone.py`) knows the control tokens by these names only: literal strings are plain text to it.

Marks and names hold a secret drawn at load, so that no caller can write them; they leave no trace in ids or
in shown text, so results do not depend on the draw. Pure text work: knows no tokenizer.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SECRET_BYTES = 16
"""128 bits: nobody writes a mark or a name by chance or by trying."""


@dataclass(frozen=True, slots=True)
class ControlText:
    """The control strings of one model and their two disguises.

    Attributes:
        mark: In a caller's text, replaces control strings by marks; returns other text unchanged.
        show: In a rendering of marked text, replaces marks by the strings they stand for.
        disguise: In a rendering of marked text, replaces the template's control strings by private names, and
            marks by the strings they stand for.
        names: The private name of each control string.
    """

    mark: Callable[[str], str]
    show: Callable[[str], str]
    disguise: Callable[[str], str]
    names: dict[str, str]


def control_text(control_strings: Sequence[str], draw: Callable[[], str] | None = None) -> ControlText:
    """Prepares the three replacements for a model's control strings.

    Args:
        control_strings: The texts of the tokens that only the template may write.
        draw: Gives a fresh secret; by default from the operating system.
    """
    draw = draw or (lambda: secrets.token_hex(SECRET_BYTES))
    name_secret, mark_secret = draw(), draw()
    names = {text: _name(text, index, name_secret) for index, text in enumerate(control_strings)}
    # Apart from the names: a template that quotes its input in an error shows marks, never names.
    marks = {text: f"m{index}:{mark_secret}m" for index, text in enumerate(control_strings)}
    literals = {mark: text for text, mark in marks.items()}
    return ControlText(
        mark=_replacer(marks),
        show=_replacer(literals),
        disguise=_replacer({**names, **literals}),
        names=names,
    )


def _name(text: str, index: int, secret: str) -> str:
    # First and last characters stay: some tokens match only beside non-word characters.
    return f"{text[0]}{index}:{secret}{text[-1]}"


def _replacer(replacements: dict[str, str]) -> Callable[[str], str]:
    """Replaces all keys by their values in one pass, the longest first as the tokenizer matches them."""
    if not replacements:
        return lambda text: text
    longest_first = sorted(replacements, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return lambda text: pattern.sub(lambda match: replacements[match[0]], text)
