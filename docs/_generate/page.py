"""Marked blocks in a page of Markdown: finds them, and replaces what is between the marks.

    <!-- generated: NAME ARGUMENTS -->
    …rewritten by the generator…
    <!-- end -->

Everything outside the marks is written by hand and never touched. Nothing here knows what a block holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_OPENING = "<!-- generated: "
_CLOSING = "<!-- end -->"
_BLOCK = re.compile(re.escape(_OPENING) + r"(?P<words>[^\n]+?) -->\n(?P<body>.*?)" + re.escape(_CLOSING), re.DOTALL)


class PageError(Exception):
    """A page cannot be generated; the message says which block and why."""


@dataclass(frozen=True, slots=True)
class Block:
    """One marked block.

    Attributes:
        name: Which renderer fills it.
        arguments: What stands after the name.
        before: The page's text before the block, for blocks that answer what stands above them.
        line: Where the block begins, from 1.
    """

    name: str
    arguments: tuple[str, ...]
    before: str
    line: int


Renderer = Callable[[Block], str]
"""Gives the text between the marks, without the line break at its end."""


def rewrite(text: str, renderers: Mapping[str, Renderer]) -> str:
    """Returns the page with every block as its renderer has it.

    Raises:
        PageError: If a block is not closed, or nobody renders it.
    """
    if text.count(_OPENING) != len(_BLOCK.findall(text)) or text.count(_CLOSING) != text.count(_OPENING):
        raise PageError(f"every {_OPENING!r} needs one {_CLOSING!r} after it, and the reverse")

    def fill(match: re.Match[str]) -> str:
        block = _block_of(match)
        if block.name not in renderers:
            known = ", ".join(sorted(renderers))
            raise PageError(f"line {block.line}: nobody renders {block.name!r}; allowed: {known}")
        return f"{_OPENING}{match['words']} -->\n{renderers[block.name](block)}\n{_CLOSING}"

    return _BLOCK.sub(fill, text)


def _block_of(match: re.Match[str]) -> Block:
    before = match.string[: match.start()]
    name, *arguments = match["words"].split()
    return Block(name, tuple(arguments), before, before.count("\n") + 1)


def table(*rows: tuple[str, ...]) -> str:
    """A Markdown table; the first row is its head."""
    head, *rest = rows
    lines = [head, ("---",) * len(head), *rest]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def fenced(language: str, text: str) -> str:
    """A fenced block of code."""
    return f"```{language}\n{text}\n```"
