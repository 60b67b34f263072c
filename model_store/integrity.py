"""Proof of what is on disk: sha256 of the files, and the two digests that go into a fingerprint.

Only files that can change a score count: config, weights, tokenizer and chat template. READMEs and what
trainers leave behind do not. Everything goes by its relative name, sorted, so neither the file system's order
nor the folder's place matters. Standard library only; hashing releases the GIL, so threads help.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model_store.adapter import Adapter
from model_store.errors import IntegrityError
from model_store.manifest import Manifest
from model_store.weights_layout import find_layout

TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
"""Files of a Hugging Face tokenizer, its chat template included."""

IRRELEVANT_FIELDS = frozenset(
    {"name", "title", "licence", "notes", "guesses", "is_verified", "golden", "origin", "files"}
)
"""Manifest fields that cannot change a score: words about the model, and where its files lie (those are
hashed themselves). Every other field counts, including ones added later."""


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes as hex, read as a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(
    folder: Path,
    tokenizer_folder: Path | None = None,
    adapter: Adapter | None = None,
    *,
    side_files: Collection[str] = (),
    num_threads: int = 2,
) -> dict[str, str]:
    """Hashes every file of a model that can change a score.

    Args:
        folder: Holds config.json and the weights.
        tokenizer_folder: Holds the tokenizer's files, if they do not lie beside the weights.
        adapter: What is merged into the weights, or None.
        side_files: Files of tensors that the manifest names beside the weights.
        num_threads: How many files are hashed at a time.

    Returns:
        sha256 (hex) by relative name, sorted by name.

    Raises:
        WeightsError: If the folder holds no weights.
        OSError: If a file cannot be read.
    """
    paths = _paths(folder, tokenizer_folder or folder, side_files)
    if adapter is not None:
        paths |= {name: adapter.folder / name for name in adapter.file_names}
    with ThreadPoolExecutor(num_threads) as pool:
        return dict(zip(paths, pool.map(hash_file, paths.values()), strict=True))


def _paths(folder: Path, tokenizer_folder: Path, side_files: Collection[str]) -> dict[str, Path]:
    names = ("config.json", *find_layout(folder, side_files).names, *side_files)
    candidates = {name: folder / name for name in names}
    candidates |= {name: tokenizer_folder / name for name in TOKENIZER_FILES}
    return {name: candidates[name] for name in sorted(candidates) if candidates[name].is_file()}


def check_files(
    folder: Path,
    manifest: Manifest,
    tokenizer_folder: Path | None = None,
    *,
    hashes: Mapping[str, str] | None = None,
) -> None:
    """Checks a model's files against the ones its manifest pins; a manifest without pins passes.

    Args:
        folder: As for `hash_folder`.
        manifest: Says in `files` what is expected.
        tokenizer_folder: As for `hash_folder`.
        hashes: What `hash_folder` gave, to hash large files once only.

    Raises:
        IntegrityError: Naming each file that differs, is missing, or is used and not pinned.
    """
    if not manifest.files:
        return
    used = hashes or hash_folder(folder, tokenizer_folder, side_files=manifest.backbone.side_files)
    found = {name: used.get(name) or _hash_if_there(folder / name) for name in manifest.files}
    complaints = [
        f"{name}: sha256 is {found[name] or 'of no file, it is missing'}, expected {expected}"
        for name, expected in manifest.files.items()
        if found[name] != expected
    ]
    # A template or tokenizer file dropped into the folder changes scores as surely as an edited one.
    complaints += [f"{name}: would be read, but is not pinned" for name in used if name not in manifest.files]
    if complaints:
        raise IntegrityError(f"{folder} is not what manifest {manifest.name!r} pins: " + "; ".join(complaints))


def _hash_if_there(path: Path) -> str | None:
    return hash_file(path) if path.is_file() else None


def digest_folder(folder: Path, tokenizer_folder: Path | None = None) -> str:
    """One sha256 (hex) over the names and contents of every file that can change a score.

    The same weights cut into other shards have another digest. Arguments and errors as for `hash_folder`.
    """
    return digest_hashes(hash_folder(folder, tokenizer_folder))


def digest_hashes(hashes: Mapping[str, str]) -> str:
    """One sha256 (hex) over files' hashes by name, in any order."""
    lines = "".join(f"{name}\0{hashes[name]}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def semantic_digest(manifest: Manifest) -> str:
    """sha256 (hex) over every field of a manifest that can change a score."""
    fields = {name: value for name, value in dataclasses.asdict(manifest).items() if name not in IRRELEVANT_FIELDS}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
