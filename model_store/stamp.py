"""Writes the sha256 of a model's files into its manifest, and leaves every other line as it is.

Used when a model is built or an entry is checked against a download. Standard library only.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from model_store.errors import ManifestError
from model_store.integrity import hash_folder
from model_store.manifest import Manifest
from model_store.manifest_toml import parse_manifest, read_manifest
from model_store.toml_writer import write_toml

_FILES_TABLE = re.compile(r"^\[files\][^\n]*\n(?:(?!\[)[^\n]*\n?)*", re.MULTILINE)
"""The table's head and all lines up to the next table."""


def stamp_files(manifest_path: Path, folder: Path, tokenizer_folder: Path | None = None) -> Manifest:
    """Rewrites a manifest's `[files]` table with the hashes of the files that are there now.

    Args:
        manifest_path: The TOML file; replaced in one step.
        folder: Holds config.json and the weights.
        tokenizer_folder: Holds the tokenizer's files, if they do not lie beside the weights.

    Returns:
        The manifest as it now stands.

    Raises:
        ManifestError: If the file is no manifest, or its `[files]` table cannot be told apart from text.
        WeightsError: If the folder holds no weights.
    """
    expected = dataclasses.replace(read_manifest(manifest_path), files=hash_folder(folder, tokenizer_folder))
    text = _with_files(manifest_path.read_text(encoding="utf-8"), expected.files)
    if parse_manifest(text, str(manifest_path)) != expected:
        raise ManifestError(f"{manifest_path}: cannot find where its [files] table ends; write it last")
    temporary = manifest_path.with_name(manifest_path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, manifest_path)
    return expected


def _with_files(text: str, files: dict[str, str]) -> str:
    table = write_toml({"files": files})
    before, _, after = _cut_out(text)
    parts = (before.rstrip("\n"), table.rstrip("\n"), after.strip("\n"))
    return "\n\n".join(part for part in parts if part) + "\n"


def _cut_out(text: str) -> tuple[str, str, str]:
    if found := _FILES_TABLE.search(text):
        return text[: found.start()], found.group(), text[found.end() :]
    return text, "", ""
