"""Writes a model's tensors anew as safetensors shards: only the needed ones, each once, checked as for loading.

For checkpoints that are pickled, hold copies under aliases, or hold tensors nobody reads: Starling's published file
has its backbone twice and a vocabulary head. Needs memory for one shard; a conversion that fails leaves no index,
and so no checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model_store.adapter_weights import open_merged
from model_store.loader import match_files
from model_store.sources import ModelFiles
from model_store.weights_match import TensorFacts
from model_store.weights_reader import read_equal

SHARD_BYTES = 1 << 30
"""A shard is closed before it would pass this; its tensors are in memory twice while it is written."""

INDEX = "model.safetensors.index.json"


def convert_weights(
    files: ModelFiles,
    target: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[str], None] = lambda words: None,
) -> None:
    """Writes `model-….safetensors` and their index into a folder.

    Args:
        target: An existing folder; holds no safetensors.
        progress: Told of each shard.

    Raises:
        WeightsMismatch: If any tensor is missing, left over, unfit, or differs from its copy.
    """
    with open_merged(files.folder, files.adapter, files.manifest.backbone.side_files) as weights:
        facts = weights.facts()
        names = match_files(files, weights)
        # A tensor that several of the model's are cut from is written once.
        copies = {stored[0]: stored for stored in names.values()}
        shards = list(_shards(copies, facts, shard_bytes))
        weight_map: dict[str, str] = {}
        for number, shard in enumerate(shards, start=1):
            file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            progress(f"writing {file}")
            tensors: dict[str, Tensor] = {name: read_equal(weights, copies[name]).contiguous() for name in shard}
            save_file(tensors, target / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(shard, file)
    total = sum(_num_bytes(facts[name]) for name in copies)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (target / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True), encoding="utf-8")


def _shards(copies: Mapping[str, object], facts: Mapping[str, TensorFacts], shard_bytes: int) -> Iterator[list[str]]:
    shard: list[str] = []
    size = 0
    for name in copies:
        num_bytes = _num_bytes(facts[name])
        if shard and size + num_bytes > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += num_bytes
    yield shard


def _num_bytes(facts: TensorFacts) -> int:
    count = 1
    for length in facts.shape:
        count *= length
    return count * int(getattr(torch, facts.dtype).itemsize)
