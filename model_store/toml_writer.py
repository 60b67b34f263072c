"""Writes TOML: the standard library reads it but does not write it.

Covers what a manifest holds: text, bool, int, float, lists of them, tables, and lists of tables. Lists of
tables inside lists of tables are written inline. A text with line breaks is written over several lines, so
that a chat template stays readable. Knows nothing of manifests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')
_ESCAPED_IN_LINES = re.compile(r'[\x00-\x09\x0b-\x1f\x7f"\\]')
"""As above without the line feed."""


def write_toml(table: Mapping[str, Any]) -> str:
    """Renders a table of plain values as TOML, scalars before sub-tables, otherwise in the given order."""
    return "\n".join(_lines(table, path=())).strip("\n") + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    subtables = {key: value for key, value in table.items() if _is_table(value) or _is_table_list(value)}
    for key, value in table.items():
        if key not in subtables:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in subtables.items():
        here = (*path, key)
        name = ".".join(_key(part) for part in here)
        if _is_table(value):
            yield from ("", f"[{name}]", *_lines(value, here))
        else:
            for item in value:
                yield from ("", f"[[{name}]]", *(f"{_key(k)} = {_value(v)}" for k, v in item.items()))


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_table_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_table(item) for item in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _lines_of_text(value) if "\n" in value.strip("\n") else _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    raise TypeError(f"cannot write {value!r} as TOML; allowed: text, bool, int, float, list, table")


def _inline(value: Any) -> str:
    if _is_table(value):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items()) + " }"
    return _text(value) if isinstance(value, str) else _value(value)


def _text(text: str) -> str:
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _lines_of_text(text: str) -> str:
    # TOML drops the one line break that follows the opening quotes.
    return '"""\n' + _ESCAPED_IN_LINES.sub(_escape, text) + '"""'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return (
        f"\\{character}"
        if character in '"\\'
        else {"\n": "\\n", "\t": "\\t"}.get(character, f"\\u{ord(character):04x}")
    )
