"""Which files of a folder hold its weights, by name alone: no tensor is read, no torch is needed.

The layouts that published reward models come in, first match wins: one safetensors file, safetensors shards
with an index, one PyTorch state dict, shards of one; and, for checkpoints with names of their own, a lone
`*.safetensors`, `*.bin` or `*.pt`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store.errors import WeightsError

_NAMED = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_LONE = ("*.safetensors", "*.bin", "*.pt")
_NOT_WEIGHTS = (
    "training_args.bin",
    "optimizer.bin",
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*",
)
"""What trainers leave beside a checkpoint."""


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """The files of one checkpoint.

    Attributes:
        folder: Where they lie.
        files: The weight files, by name, sorted.
        index: The shards' index file, or None for a single file.
    """

    folder: Path
    files: tuple[str, ...]
    index: str | None = None

    @property
    def is_safetensors(self) -> bool:
        """Whether the files are safetensors; otherwise they are PyTorch state dicts."""
        return self.files[0].endswith(".safetensors")

    @property
    def names(self) -> tuple[str, ...]:
        """Every file that decides which tensors are read."""
        return (*self.files, self.index) if self.index else self.files


def find_layout(folder: Path, side_files: Collection[str] = ()) -> WeightLayout:
    """Finds a folder's weight files.

    Args:
        side_files: Files that are not the weights, though their names look like it.

    Raises:
        WeightsError: If there are none, if it is unclear which ones are meant, or if a shard is missing.
    """
    for name in _NAMED:
        if (folder / name).is_file():
            return _sharded(folder, name) if name.endswith(".index.json") else WeightLayout(folder, (name,))
    return WeightLayout(folder, (_lone(folder, side_files),))


def _sharded(folder: Path, index: str) -> WeightLayout:
    files = tuple(sorted(set(read_index(folder / index).values())))
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise WeightsError(f"{folder}: {index} names shards that are not there: {', '.join(missing)}")
    return WeightLayout(folder, files, index)


def _lone(folder: Path, side_files: Collection[str]) -> str:
    for pattern in _LONE:
        found = sorted(
            path.name for path in folder.glob(pattern) if not _is_trainers(path) and path.name not in side_files
        )
        if len(found) > 1:
            raise WeightsError(f"{folder}: unclear which is the weights: {', '.join(found)}; leave only one")
        if found:
            return found[0]
    raise WeightsError(f"{folder}: no weights; looked for {', '.join(_NAMED)}, or a lone {', '.join(_LONE)}")


def _is_trainers(path: Path) -> bool:
    return any(path.match(pattern) for pattern in _NOT_WEIGHTS)


def read_index(path: Path) -> dict[str, str]:
    """Reads a shards' index: the file's name of each tensor.

    Raises:
        WeightsError: If it is not JSON with a `weight_map` of names to file names in the same folder.
    """
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: not a weights index (JSON with weight_map): {error!r}") from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{path}: weight_map is {weight_map!r}; allowed: tensor names to file names")
    for name in weight_map.values():
        if not isinstance(name, str) or Path(name).name != name:
            raise WeightsError(f"{path}: weight_map names the file {name!r}; allowed: files beside it")
    return weight_map


def tensor_names(layout: WeightLayout) -> frozenset[str] | None:
    """Names of all tensors, where a header or index tells; None for a lone PyTorch state dict.

    Raises:
        WeightsError: If the header or index is damaged.
    """
    if layout.index:
        return frozenset(read_index(layout.folder / layout.index))
    if not layout.is_safetensors:
        return None
    header = _safetensors_header(layout.folder / layout.files[0])
    return frozenset(header) - {"__metadata__"}


def _safetensors_header(path: Path) -> dict[str, Any]:
    """The header: 8 bytes of little-endian length, then JSON (github.com/huggingface/safetensors#format)."""
    with path.open("rb") as file:
        prefix = file.read(8)
        num_bytes = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 0 < num_bytes <= path.stat().st_size - 8:
            raise WeightsError(f"{path}: not a whole safetensors file (its header would have {num_bytes} bytes)")
        try:
            header = json.loads(file.read(num_bytes))
        except ValueError as error:
            raise WeightsError(f"{path}: not a safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: not a safetensors file: its header is not a table")
    return header
