"""A base model's tensors with a LoRA adapter merged into them, as one checkpoint.

Merging happens as tensors are read, in fp32: `W + scale * B @ A`, rounded once, to the dtype the model is served in.
Every tensor of the adapter must find its place; a change without a weight to change is an error, never ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model_store.adapter import Adapter
from model_store.errors import NOTHING, WeightsMismatch
from model_store.weights_layout import WeightLayout
from model_store.weights_match import TensorFacts
from model_store.weights_reader import WeightFiles, open_layout, open_weights

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_SAVED = ".modules_to_save."


@contextmanager
def open_merged(
    folder: Path, adapter: Adapter | None, side_files: Mapping[str, str] = NOTHING
) -> Iterator[WeightFiles]:
    """Opens a folder's weights, with its side files, and an adapter merged if there is one.

    Raises:
        WeightsError: As `open_weights`.
        WeightsMismatch: If a tensor of the adapter has no place, no counterpart, or another shape than it must have.
    """
    with open_weights(folder, side_files) as base:
        if adapter is None:
            yield base
            return
        layout = WeightLayout(adapter.folder, (adapter.weights_file,))
        with open_layout(layout) as changes:
            yield _Merged(base, changes, adapter)


@dataclass(frozen=True, slots=True)
class _Change:
    """A low-rank change: the adapter's names of A (rank, inputs) and B (outputs, rank), and the scale."""

    a: str
    b: str
    scale: float


class _Merged:
    def __init__(self, base: WeightFiles, changes: WeightFiles, adapter: Adapter) -> None:
        self._base, self._changes = base, changes
        self._low_rank: dict[str, _Change] = {}
        self._saved: dict[str, str] = {}
        self._sort(adapter)

    def facts(self) -> Mapping[str, TensorFacts]:
        facts = dict(self._base.facts())
        for name in self._low_rank:
            facts[name] = TensorFacts(facts[name].shape, "float32")
        return facts | {name: self._changes.facts()[stored] for name, stored in self._saved.items()}

    def read(self, name: str) -> Tensor:
        if name in self._saved:
            return self._changes.read(self._saved[name])
        weight = self._base.read(name)
        change = self._low_rank.get(name)
        if change is None:
            return weight
        low_rank = self._changes.read(change.b).float() @ self._changes.read(change.a).float()
        return torch.add(weight.float(), low_rank, alpha=change.scale)

    def _sort(self, adapter: Adapter) -> None:
        """Finds the place of every tensor of the adapter."""
        facts, base = self._changes.facts(), self._base.facts()
        missing: dict[str, str] = {}
        left_over: dict[str, str] = {}
        unfit: dict[str, str] = {}
        for stored in facts:
            name = stored.removeprefix(_PREFIX)
            if name == stored or name.endswith(_B):
                continue
            if not name.endswith(_A):
                self._saved[name.replace(_SAVED, ".")] = stored
                continue
            module = name.removesuffix(_A)
            b, weight = stored.removesuffix(_A) + _B, f"{module}.weight"
            if b not in facts:
                missing[b] = f"the counterpart of {stored}"
            elif weight not in base:
                left_over[stored] = f"the base model has no {weight}"
            else:
                rank = adapter.rank_of(module)
                outputs, *inputs = base[weight].shape
                for half, shape in ((stored, (rank, *inputs)), (b, (outputs, rank))):
                    if facts[half].shape != shape:
                        unfit[half] = f"its shape is {facts[half].shape}, expected {shape}"
                self._low_rank[weight] = _Change(stored, b, adapter.scale_of(module))
        used = {half for change in self._low_rank.values() for half in (change.a, change.b)} | set(self._saved.values())
        left_over |= {name: "no place for it" for name in facts if name not in used | missing.keys() | left_over.keys()}
        if missing or left_over or unfit:
            raise WeightsMismatch(str(adapter.folder), missing=missing, left_over=left_over, unfit=unfit)
