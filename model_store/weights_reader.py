"""Opens a checkpoint's files and reads their tensors one by one, whatever the layout.

Files are mapped, not read: facts about tensors cost no memory, and a tensor's bytes are touched when it is
copied out. PyTorch state dicts are opened with `weights_only`, so a pickle that would run code is refused.
Knows nothing of models.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model_store.errors import NOTHING, WeightsError, WeightsMismatch
from model_store.weights_layout import WeightLayout, find_layout, tensor_names
from model_store.weights_match import TensorFacts


class WeightFiles(Protocol):
    """The open files of one checkpoint."""

    def facts(self) -> Mapping[str, TensorFacts]:
        """Shape and dtype of every tensor, by its name in the files."""

    def read(self, name: str) -> Tensor:
        """One tensor on the CPU as it is stored; it may be a view of the file and is not to be kept."""


@contextmanager
def open_weights(folder: Path, side_files: Mapping[str, str] = NOTHING) -> Iterator[WeightFiles]:
    """Opens a folder's weights; tensors can be read while the context lasts.

    Args:
        side_files: Further files of tensors in the folder, and what stands before the names of theirs here.

    Raises:
        WeightsError: If there are no weights, or a file is damaged, holds code or is not plain tensors, or
            the shards are not what their index says.
    """
    with ExitStack() as stack:
        weights = stack.enter_context(open_layout(find_layout(folder, side_files)))
        if side_files:
            sides: list[WeightFiles] = []
            for name, prefix in side_files.items():
                side = stack.enter_context(open_layout(WeightLayout(folder, (name,))))
                sides.append(_Prefixed(side, prefix))
            weights = _Shards(folder, None, [weights, *sides])
        yield weights


@contextmanager
def open_layout(layout: WeightLayout) -> Iterator[WeightFiles]:
    """Opens the weights of a layout that is known; otherwise as `open_weights`."""
    folder = layout.folder
    with ExitStack() as stack:
        open_file = _SafetensorsFile if layout.is_safetensors else _StateDictFile
        files: list[WeightFiles] = [open_file(folder / name, stack) for name in layout.files]
        yield _Shards(folder, layout, files)


def read_equal(weights: WeightFiles, names: tuple[str, ...]) -> Tensor:
    """Reads a tensor that may be stored under several names.

    Raises:
        WeightsMismatch: If the copies are not equal to the bit.
    """
    tensor = weights.read(names[0])
    for name in names[1:]:
        if not torch.equal(weights.read(name), tensor):
            raise WeightsMismatch("aliases", unfit={name: f"differs from its copy {names[0]}"})
    return tensor


class _Shards:
    """All files of a checkpoint as one."""

    def __init__(self, folder: Path, layout: WeightLayout | None, files: list[WeightFiles]) -> None:
        self._file_of: dict[str, WeightFiles] = {}
        self._facts: dict[str, TensorFacts] = {}
        for file in files:
            for name, facts in file.facts().items():
                if name in self._facts:
                    raise WeightsError(f"{folder}: {name} stands in two files; allowed: one")
                self._facts[name] = facts
                self._file_of[name] = file
        self._check_index(layout)

    def _check_index(self, layout: WeightLayout | None) -> None:
        if layout is None or layout.index is None:
            return
        promised = tensor_names(layout) or frozenset()
        if wrong := sorted(promised ^ self._facts.keys()):
            raise WeightsError(
                f"{layout.folder}: {layout.index} and the shards differ in {len(wrong)} tensors,"
                f" such as {', '.join(wrong[:5])}"
            )

    def facts(self) -> Mapping[str, TensorFacts]:
        return self._facts

    def read(self, name: str) -> Tensor:
        return self._file_of[name].read(name)


class _Prefixed:
    """A file whose tensors are called by longer names."""

    def __init__(self, file: WeightFiles, prefix: str) -> None:
        self._file, self._prefix = file, prefix

    def facts(self) -> Mapping[str, TensorFacts]:
        return {self._prefix + name: facts for name, facts in self._file.facts().items()}

    def read(self, name: str) -> Tensor:
        return self._file.read(name.removeprefix(self._prefix))


_SAFETENSORS_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}


class _SafetensorsFile:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        try:
            self._file: Any = stack.enter_context(safe_open(path, framework="pt", device="cpu"))
        except SafetensorError as error:
            raise WeightsError(f"{path}: damaged, or not a safetensors file: {error}") from error

    def facts(self) -> Mapping[str, TensorFacts]:
        return {name: _slice_facts(self._file.get_slice(name)) for name in self._file.keys()}  # noqa: SIM118

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(name)
        return tensor


def _slice_facts(tensor_slice: Any) -> TensorFacts:
    stored = tensor_slice.get_dtype()
    return TensorFacts(tuple(tensor_slice.get_shape()), _SAFETENSORS_DTYPES.get(stored, stored))


class _StateDictFile:
    def __init__(self, path: Path, _: ExitStack) -> None:
        self._tensors = _load_state_dict(path)

    def facts(self) -> Mapping[str, TensorFacts]:
        return {
            name: TensorFacts(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            for name, tensor in self._tensors.items()
        }

    def read(self, name: str) -> Tensor:
        return self._tensors[name]


def _load_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        # Files from before PyTorch 1.6 are no zip archives and cannot be mapped.
        is_mappable = zipfile.is_zipfile(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mappable)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: refused, its pickle is damaged or holds more than tensors, and so could run code;"
            f" allowed: a plain state dict, or safetensors. torch says: {error}"
        ) from error
    except Exception as error:  # damaged pickles raise whatever the byte they trip over leads to
        raise WeightsError(f"{path}: damaged, or not a PyTorch state dict: {error}") from error
    return _plain_tensors(state, path)


def _plain_tensors(state: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: holds a {type(state).__name__}; allowed: a state dict")
    if others := [f"{name!r}: {type(item).__name__}" for name, item in state.items() if not _is_tensor(name, item)]:
        raise WeightsError(f"{path}: holds {', '.join(others[:5])}; allowed: tensors by name only")
    return dict(state)


def _is_tensor(name: object, item: object) -> bool:
    return isinstance(name, str) and isinstance(item, Tensor)
