"""Writes the sha256 of a model's files into its manifest, and leaves every other line as it is.

Used when a model is built, or when an entry is checked against a download. Standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from model_store.errors import ManifestError
from model_store.integrity import hash_folder
from model_store.manifest import Manifest
from model_store.manifest_toml import parse_manifest, read_manifest
from model_store.toml_writer import write_toml

_FILES_TABLE = re.compile(r"^\[files\][^\n]*\n?(?:[^\[#\n][^\n]*\n?)*", re.MULTILINE)
"""The table's head and the keys right below it."""


def stamp_files(manifest_path: Path, folder: Path, tokenizer_folder: Path | None = None) -> Manifest:
    """Rewrites a manifest's `[files]` table with the hashes of the files that are there now.

    Args:
        manifest_path: The TOML file; replaced in one step.
        folder: Holds config.json and the weights.
        tokenizer_folder: Holds the tokenizer's files, if they do not lie beside the weights.

    Returns:
        The manifest as it now stands.

    Raises:
        ManifestError: If the file is no manifest, or pins files in another way than a `[files]` table.
        WeightsError: If the folder holds no weights.
    """
    manifest = read_manifest(manifest_path)
    hashes = hash_folder(folder, tokenizer_folder, side_files=manifest.backbone.side_files)
    expected = replace(manifest, files=hashes)
    for text in _candidates(manifest_path.read_text(encoding="utf-8"), write_toml({"files": expected.files})):
        if _says(text, expected):
            _replace_text(manifest_path, text)
            return expected
    raise ManifestError(f"{manifest_path}: its pins are not a [files] table of one key a line; allowed: that, or none")


def _candidates(text: str, table: str) -> Iterator[str]:
    """The text with its table replaced (a template may hold lines that look like one), or the table appended."""
    spans = [match.span() for match in _FILES_TABLE.finditer(text)]
    for start, end in [*spans, (len(text), len(text))]:
        parts = (text[:start].rstrip("\n"), table.rstrip("\n"), text[end:].strip("\n"))
        yield "\n\n".join(part for part in parts if part) + "\n"


def _says(text: str, expected: Manifest) -> bool:
    try:
        return parse_manifest(text, "candidate") == expected
    except ManifestError:
        return False


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
