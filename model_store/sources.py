"""From what a person types to files on this disk: a catalogue name, a folder, or a Hugging Face id.

Decides which folder holds the model and which manifest says how it is read. Hashes and loads nothing, and
knows no way to fetch anything: the download is handed in. Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from model_store import catalogue
from model_store.adapter import Adapter, is_adapter, read_adapter
from model_store.download import TOKENIZER_PATTERNS, Download, download_model, download_snapshot
from model_store.errors import SourceError, UnknownModelName
from model_store.guess import MANIFEST_FILE, guess_manifest, require_config
from model_store.manifest import Manifest, Origin
from model_store.manifest_toml import read_manifest

SHIPPED = Path(__file__).parent / "weights"
"""Checkpoints that ship with the package, one folder each."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_HUB_REFERENCE = re.compile(rf"({_HUB_ID.pattern})(?:@([\w.-]+))?", re.ASCII)
"""A Hugging Face id, and after an @ maybe a commit, branch or tag."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKENIZER_MARKS = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""Any of these means that a folder holds a tokenizer."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's files lie, and how they are read.

    Attributes:
        folder: Holds config.json and the weights.
        tokenizer_folder: Holds the tokenizer and its chat template; often the same.
        adapter: A LoRA adapter to merge into the weights when they are read, or None.
    """

    folder: Path
    tokenizer_folder: Path
    manifest: Manifest
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """The places where models are looked for."""

    entries: Path = catalogue.ENTRIES
    shipped: Path = SHIPPED
    download: Download = download_snapshot

    def resolve(self, reference: str, *, weights: Path | None = None, tokenizer: Path | None = None) -> ModelFiles:
        """Finds a model's files: by catalogue name, else by folder, else by Hugging Face id.

        Args:
            reference: A folder of the same name as an entry is meant by `./name`.
            weights: For a catalogue entry, a local folder to use instead of its own source; for an adapter's folder,
                the base model's.
            tokenizer: A local folder with the tokenizer, if it is not the model's own.

        Raises:
            UnknownModelName: If the reference is none of the three; suggests close catalogue names.
            SourceError: If the files are not where they should be, or cannot be fetched.
            ManifestError: If the entry, or the manifest in the folder, is not valid.
            UnsupportedModel: If there is no manifest and nothing can be guessed.
            WeightsError: If the folder holds no weights.
        """
        for given in (weights, tokenizer):
            if given is not None and not given.is_dir():
                raise SourceError(f"{given}: no such folder")
        if reference in catalogue.names(self.entries):
            return self._entry(catalogue.find(reference, self.entries), weights, tokenizer)
        if reference and is_adapter(Path(reference).expanduser()):
            return self._adapter(Path(reference).expanduser(), weights, tokenizer)
        if weights is not None:
            raise SourceError(
                f"weights were given for {reference!r}, which is no catalogue entry; "
                + catalogue.suggest(reference, catalogue.names(self.entries))
            )
        if reference and (folder := Path(reference).expanduser()).is_dir():
            return self._folder(folder, folder.resolve().name, tokenizer, Origin())
        if hub := _HUB_REFERENCE.fullmatch(reference):
            return self._repository(hub[1], hub[2], tokenizer)
        raise UnknownModelName(
            f"{reference!r} is no catalogue entry, no folder here and no Hugging Face id (owner/name); "
            + catalogue.suggest(reference, catalogue.names(self.entries))
        )

    def _entry(self, manifest: Manifest, weights: Path | None, tokenizer: Path | None) -> ModelFiles:
        folder = weights or self._entry_folder(manifest)
        require_config(folder)
        if tokenizer is None and not _has_tokenizer(folder):
            tokenizer = self._entry_tokenizer(manifest)
        return ModelFiles(folder, _tokenizer_folder(folder, tokenizer), manifest)

    def _entry_folder(self, manifest: Manifest) -> Path:
        origin = manifest.origin
        if origin.package_folder is not None:
            return self.shipped / origin.package_folder
        if origin.repository is not None:
            side_files = tuple(manifest.backbone.side_files)
            return download_model(origin.repository, origin.revision, self.download, side_files)
        raise SourceError(f"{manifest.name} has no source of its own; say where its files are: --weights FOLDER")

    def _entry_tokenizer(self, manifest: Manifest) -> Path | None:
        repository = manifest.origin.tokenizer_repository
        return self.download(repository, None, TOKENIZER_PATTERNS) if repository else None

    def _adapter(self, folder: Path, base: Path | None, tokenizer: Path | None, name: str = "") -> ModelFiles:
        """An adapter's folder: the base model that it names, or that was given, with the change merged in."""
        adapter = read_adapter(folder)
        base = base or self._base_folder(adapter)
        require_config(base)
        tokenizer_folder = _tokenizer_folder(base, tokenizer or (folder if _has_tokenizer(folder) else None))
        if (path := folder / MANIFEST_FILE).is_file():
            return ModelFiles(base, tokenizer_folder, read_manifest(path), adapter)
        name = _clean(name or folder.resolve().name)
        manifest = guess_manifest(base, name=name, tokenizer_folder=tokenizer_folder, adapter=adapter)
        return ModelFiles(base, tokenizer_folder, manifest, adapter)

    def _base_folder(self, adapter: Adapter) -> Path:
        if Path(adapter.base).is_dir() and adapter.base:
            return Path(adapter.base)
        if _HUB_ID.fullmatch(adapter.base):
            try:
                return download_model(adapter.base, adapter.base_revision, self.download)
            except SourceError as error:
                raise SourceError(
                    f"{adapter.folder} is an adapter and changes the base model {adapter.base}: {error}"
                ) from error
        raise SourceError(
            f"{adapter.folder} changes the base model {adapter.base!r}, which is no folder here and no Hugging Face id;"
            " say where it is: --weights FOLDER"
        )

    def _repository(self, repository: str, revision: str | None, tokenizer: Path | None) -> ModelFiles:
        folder = download_model(repository, revision, self.download)
        # The hub's cache names a snapshot's folder after its commit.
        origin = Origin(repository, folder.name if _COMMIT.fullmatch(folder.name) else revision)
        if not is_adapter(folder):
            return self._folder(folder, repository, tokenizer, origin)
        files = self._adapter(folder, None, tokenizer, name=repository)
        if not files.manifest.guesses:
            return files
        return replace(files, manifest=replace(files.manifest, origin=origin))

    def _folder(self, folder: Path, name: str, tokenizer: Path | None, origin: Origin) -> ModelFiles:
        require_config(folder)
        tokenizer_folder = _tokenizer_folder(folder, tokenizer)
        if (path := folder / MANIFEST_FILE).is_file():
            return ModelFiles(folder, tokenizer_folder, read_manifest(path))
        manifest = guess_manifest(folder, name=_clean(name), tokenizer_folder=tokenizer_folder)
        return ModelFiles(folder, tokenizer_folder, replace(manifest, origin=origin))


def resolve(reference: str, *, weights: Path | None = None, tokenizer: Path | None = None) -> ModelFiles:
    """`Sources.resolve` over the shipped catalogue and the Hugging Face hub."""
    return Sources().resolve(reference, weights=weights, tokenizer=tokenizer)


def _clean(name: str) -> str:
    """Makes any folder's name a manifest's name."""
    return re.sub(r"[^A-Za-z0-9._/-]+", "-", name).lstrip("._/-") or "model"


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZER_MARKS)


def _tokenizer_folder(folder: Path, tokenizer: Path | None) -> Path:
    chosen = tokenizer or folder
    if not _has_tokenizer(chosen):
        raise SourceError(
            f"{chosen}: no tokenizer ({', '.join(_TOKENIZER_MARKS)}); say where it is: --tokenizer FOLDER"
        )
    return chosen
