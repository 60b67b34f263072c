"""A JSONL file of pairs, read by place: which lines there are, in what order they are best scored, and each as a pair.

Only offsets are kept in memory, about 100 bytes a line, so that a million pairs are no burden.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward_client import Pair

FORMS = (("prompt", "response"), ("prompt_ids", "response_ids"), ("rendered",))
"""The fields of the three forms of a pair."""


class BadLine(ValueError):
    """A line that holds no pair; the message says what it holds and what is allowed."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Where a line begins, and what it is sorted by: its prompt, then its length."""

    offset: int
    prompt: int
    size: int


class InputFile:
    """The pairs of one file. Line n of the file (blank lines not counted) is pair n."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[_Line] = []
        digest = hashlib.sha256()
        offset = 0
        with path.open("rb") as lines:
            for line in lines:
                digest.update(line)
                if line.strip():
                    self._lines.append(_Line(offset, _prompt_hash(line), len(line)))
                offset += len(line)
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._lines)

    def order(self) -> list[int]:
        """All indices, pairs of one prompt together and groups by size: what shares a frame lies side by side."""
        largest: dict[int, int] = {}
        for line in self._lines:
            largest[line.prompt] = max(largest.get(line.prompt, 0), line.size)
        return sorted(range(len(self)), key=lambda index: self._sort_key(index, largest))

    def read(self, indices: list[int]) -> Iterator[tuple[int, Pair | BadLine]]:
        """Each line asked for as a pair, or why it is none."""
        with self._path.open("rb") as file:
            for index in indices:
                file.seek(self._lines[index].offset)
                try:
                    yield index, parse_line(file.readline())
                except BadLine as error:
                    yield index, error

    def _sort_key(self, index: int, largest: dict[int, int]) -> tuple[int, int, int]:
        line = self._lines[index]
        return (largest[line.prompt], line.prompt, index)


def parse_line(line: bytes) -> Pair:
    """A line of the file as a pair; fields that are not a pair's are the file's own business.

    Raises:
        BadLine: If it is not a JSON object with the fields of one form, in their types.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadLine(f"not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadLine(f"a {type(row).__name__}; a line must be a JSON object")
    for form in FORMS:
        if all(row.get(name) is not None for name in form):
            _check(row, form)
            return Pair(**{name: row[name] for name in form}, id=None if row.get("id") is None else str(row["id"]))
    forms = ", or ".join(" and ".join(form) for form in FORMS)
    raise BadLine(f"an object with {', '.join(map(repr, row)) or 'no fields'}; a pair needs {forms}")


def _check(row: dict[str, Any], form: tuple[str, ...]) -> None:
    for name in form:
        value = row[name]
        if name.endswith("_ids"):
            is_right = isinstance(value, list) and all(type(token) is int and 0 <= token < 2**31 for token in value)
        elif name == "prompt" and isinstance(value, list):
            is_right = all(_is_message(message) for message in value)
        else:
            is_right = isinstance(value, str)
        if not is_right:
            allowed = "a list of token ids" if name.endswith("_ids") else "text"
            allowed += " or a list of messages with role and content" if name == "prompt" else ""
            raise BadLine(f"{name!r} is {json.dumps(value)[:80]}; allowed: {allowed}")


def _is_message(message: object) -> bool:
    return (
        isinstance(message, dict)
        and set(message) == {"role", "content"}
        and all(isinstance(value, str) for value in message.values())
    )


def _prompt_hash(line: bytes) -> int:
    """Equal for lines with an equal prompt; anything for lines without one."""
    try:
        row = json.loads(line)
    except ValueError:
        return 0
    if not isinstance(row, dict):
        return 0
    return hash(json.dumps(row.get("prompt") or row.get("prompt_ids") or row.get("rendered")))
