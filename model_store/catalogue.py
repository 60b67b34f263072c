"""The models we know by name: one TOML manifest for each, in `entries/`.

A file's name is its model's name. Files are read only when asked for, so one bad entry does not stop the
others. Knows nothing of where weights lie. Standard library only.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from model_store.errors import ManifestError, UnknownModelName
from model_store.manifest import Manifest
from model_store.manifest_toml import read_manifest

ENTRIES = Path(__file__).parent / "entries"
"""The manifests that ship with the package."""


def names(entries: Path = ENTRIES) -> tuple[str, ...]:
    """Names of all entries, sorted."""
    return tuple(sorted(path.stem for path in entries.glob("*.toml")))


def find(name: str, entries: Path = ENTRIES) -> Manifest:
    """Reads the entry of this name.

    Raises:
        UnknownModelName: If there is none; the message suggests close names and lists all.
        ManifestError: If the entry is not a valid manifest, or calls itself otherwise than its file.
    """
    known = names(entries)
    if name not in known:
        raise UnknownModelName(f"no catalogue entry {name!r}; {suggest(name, known)}")
    path = entries / f"{name}.toml"
    manifest = read_manifest(path)
    if manifest.name != name:
        raise ManifestError(f"{path}: name is {manifest.name!r}; allowed: the file's own name, {name!r}")
    return manifest


def suggest(name: str, known: tuple[str, ...]) -> str:
    """Says in words which known names come close to a wrong one, and which there are."""
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}the catalogue has: {', '.join(known) or 'nothing'}"
