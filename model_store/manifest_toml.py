"""Manifests as TOML: strict in, complete out.

The dataclasses in `manifest.py` are the schema; this module walks them, so a new field needs no code here. An
unknown key, a wrong type, an unknown word and a missing key are all errors that name the file and the key;
`manifest_rules.py` then checks the meaning. What is written reads back equal. Standard library only.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from model_store.errors import ManifestError
from model_store.manifest import Manifest
from model_store.manifest_rules import check_manifest
from model_store.toml_writer import write_toml


def read_manifest(path: Path) -> Manifest:
    """Reads and checks one manifest file (UTF-8).

    Raises:
        ManifestError: If it cannot be read, or is not exactly a manifest; names the file and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str) -> Manifest:
    """Parses and checks a manifest.

    Args:
        text: TOML.
        where: What to call it in messages, usually its path.

    Raises:
        ManifestError: If the text is not TOML or not exactly a manifest; names `where` and the key.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{where}: not valid TOML: {error}") from error
    manifest: Manifest = _Reader(where).record(Manifest, table, key="")
    check_manifest(manifest, where)
    return manifest


def render_manifest(manifest: Manifest) -> str:
    """Renders a manifest as TOML, defaults written out; `parse_manifest` gives an equal one back."""
    return write_toml(_plain(manifest))


def _plain(value: Any) -> Any:
    """Turns records into tables, without what TOML cannot say (None) and without empty defaults."""
    if dataclasses.is_dataclass(value):
        table = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {name: item for name, item in table.items() if item is not None and not _is_idle(value, name)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value


def _is_idle(record: Any, name: str) -> bool:
    given = getattr(record, name)
    (field,) = (field for field in dataclasses.fields(record) if field.name == name)
    return given in ("", (), {}) and given == _default(field)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


class _Reader:
    """Builds records from parsed TOML; every complaint names the file and the key's whole path."""

    def __init__(self, where: str) -> None:
        self._where = where

    def record(self, record_type: type[Any], table: Any, key: str) -> Any:
        if not isinstance(table, dict):
            raise self._wrong(key, table, "a table")
        fields = {field.name: field for field in dataclasses.fields(record_type)}
        for name in table:
            if name not in fields:
                raise self._unknown(_join(key, name), name, tuple(fields))
        for name, field in fields.items():
            if name not in table and _default(field) is dataclasses.MISSING:
                raise ManifestError(f"{self._where}: key {_join(key, name)} is missing")
        types_by_name = get_type_hints(record_type)
        return record_type(
            **{name: self.value(types_by_name[name], item, _join(key, name)) for name, item in table.items()}
        )

    def value(self, expected: Any, given: Any, key: str) -> Any:
        """Reads one value as the type that the dataclass annotates."""
        if get_origin(expected) is types.UnionType:  # only ever `X | None`, and TOML has no None
            (expected,) = (option for option in get_args(expected) if option is not types.NoneType)
        if dataclasses.is_dataclass(expected):
            return self.record(expected, given, key)  # type: ignore[arg-type]
        if isinstance(expected, type) and issubclass(expected, StrEnum):
            return self._word(expected, given, key)
        return self._readers()[get_origin(expected) or expected](expected, given, key)

    def _readers(self) -> dict[Any, Callable[[Any, Any, str], Any]]:
        return {
            tuple: self._list,
            dict: self._mapping,
            float: self._float,
            str: self._scalar,
            int: self._scalar,
            bool: self._scalar,
        }

    def _scalar(self, expected: type[Any], given: Any, key: str) -> Any:
        if type(given) is not expected:  # `isinstance` would take True for an int
            raise self._wrong(key, given, _WORDS[expected])
        return given

    def _float(self, _: type[float], given: Any, key: str) -> float:
        if type(given) not in (int, float):
            raise self._wrong(key, given, _WORDS[float])
        return float(given)

    def _word(self, expected: type[StrEnum], given: Any, key: str) -> StrEnum:
        allowed = [word.value for word in expected]
        if given not in allowed:
            raise self._wrong(key, given, "one of " + ", ".join(map(repr, allowed)))
        return expected(given)

    def _list(self, expected: Any, given: Any, key: str) -> tuple[Any, ...]:
        if not isinstance(given, list):
            raise self._wrong(key, given, "a list")
        item_type = get_args(expected)[0]
        return tuple(self.value(item_type, item, f"{key}[{index}]") for index, item in enumerate(given))

    def _mapping(self, expected: Any, given: Any, key: str) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise self._wrong(key, given, "a table")
        _, item_type = get_args(expected)
        return {name: self.value(item_type, item, _join(key, name)) for name, item in given.items()}

    def _wrong(self, key: str, given: Any, allowed: str) -> ManifestError:
        return ManifestError(f"{self._where}: {key} is {given!r}; allowed: {allowed}")

    def _unknown(self, key: str, name: str, allowed: tuple[str, ...]) -> ManifestError:
        close = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return ManifestError(f"{self._where}: unknown key {key}; {hint}allowed: {', '.join(allowed)}")


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
