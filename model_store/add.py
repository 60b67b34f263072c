"""Makes a folder of its own out of a model's files, wherever they lie: weights, tokenizer, and a manifest with hashes.

Such a folder is served by its path, without the hub and without a catalogue. Weights that are not safetensors are
converted, an adapter is merged, side files are taken in; safetensors are linked where the file system can, else
copied.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from model_store.convert import convert_weights
from model_store.errors import SourceError
from model_store.guess import MANIFEST_FILE
from model_store.integrity import TOKENIZER_FILES, hash_folder
from model_store.loader import match_files
from model_store.manifest import Manifest
from model_store.manifest_toml import render_manifest
from model_store.sources import ModelFiles
from model_store.weights_layout import find_layout
from model_store.weights_reader import open_weights


def add_model(files: ModelFiles, target: Path, *, progress: Callable[[str], None] = lambda words: None) -> Manifest:
    """Fills a folder with everything that serving the model needs, its manifest last.

    Args:
        files: The model, as `resolve` found it.
        target: A folder that does not exist yet, or is empty.

    Returns:
        The manifest that was written, every file pinned by its sha256.

    Raises:
        SourceError: If the target holds something.
        WeightsMismatch: If the tensors are not exactly those the model needs.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SourceError(f"{target} is not an empty folder; name one that is, or that does not exist yet")
    target.mkdir(parents=True, exist_ok=True)
    _place(files.folder / "config.json", target)
    for name in TOKENIZER_FILES:
        if (path := files.tokenizer_folder / name).is_file():
            _place(path, target)
    manifest = files.manifest
    side_files = manifest.backbone.side_files
    layout = find_layout(files.folder, side_files)
    if layout.is_safetensors and files.adapter is None and not side_files:
        with open_weights(files.folder) as weights:
            match_files(files, weights)
        for name in layout.names:
            progress(f"taking {name}")
            _place(files.folder / name, target)
    else:
        convert_weights(files, target, progress=progress)
        manifest = replace(manifest, backbone=replace(manifest.backbone, side_files={}))
    progress("hashing its files")
    manifest = replace(manifest, files=hash_folder(target))
    (target / MANIFEST_FILE).write_text(render_manifest(manifest), encoding="utf-8")
    return manifest


def _place(source: Path, folder: Path) -> None:
    whole = source.resolve()  # the hub's cache holds links
    try:
        os.link(whole, folder / source.name)
    except OSError:
        shutil.copyfile(whole, folder / source.name)
