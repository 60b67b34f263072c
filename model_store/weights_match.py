"""Decides which tensor of the files goes where, and refuses unless everything fits exactly.

A tensor that is missing, left over or of another shape is how a wrong prefix, a wrong config or another model
shows; a loader that shrugs would serve random or base-model weights as a reward model. Works on names, shapes
and dtypes alone: no torch, no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model_store.errors import WeightsMismatch

_FLOATING = ("float32", "bfloat16", "float16", "float64")
"""Stored dtypes that are numbers as they stand; all others are quantized and need arithmetic of their own."""


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What the files say of a tensor without reading it; `dtype` in torch's words, such as `bfloat16`."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tensor the model needs: the names it may have in the files, the usual one first, and its shape."""

    names: tuple[str, ...]
    shape: tuple[int, ...]


def match_tensors(
    wanted: Mapping[str, Wanted], facts: Mapping[str, TensorFacts], *, ignored: Iterable[str], where: str
) -> dict[str, tuple[str, ...]]:
    """Finds the tensors a model needs among those the files hold.

    Args:
        wanted: What is needed, by any key of the caller's.
        facts: What is there, by name.
        ignored: Names, or endings written `*.name`, that may be left over.
        where: What to call the files in messages.

    Returns:
        By the caller's keys, the names under which the tensor stands in the files: one, or several copies.

    Raises:
        WeightsMismatch: Listing every tensor that is missing, left over or unfit.
    """
    found = {key: tuple(name for name in want.names if name in facts) for key, want in wanted.items()}
    claimed = {name for names in found.values() for name in names}
    missing = {want.names[0]: f"expected {want.shape}" for key, want in wanted.items() if not found[key]}
    left_over = {
        name: f"{fact.dtype} {fact.shape}"
        for name, fact in facts.items()
        if name not in claimed and not _is_ignored(name, ignored)
    }
    unfit = {
        name: words for key, names in found.items() for name in names if (words := _why_unfit(facts[name], wanted[key]))
    }
    if missing or left_over or unfit:
        raise WeightsMismatch(where, missing=missing, left_over=left_over, unfit=unfit)
    return found


def _is_ignored(name: str, ignored: Iterable[str]) -> bool:
    return any(name.endswith(known[1:]) if known.startswith("*") else name == known for known in ignored)


def _why_unfit(fact: TensorFacts, want: Wanted) -> str:
    if fact.shape != want.shape:
        return f"its shape is {fact.shape}, expected {want.shape}"
    if fact.dtype not in _FLOATING:
        return f"its dtype is {fact.dtype}, expected one of {', '.join(_FLOATING)}"
    return ""
