"""Loads a reward model's backbone and head, strictly: every tensor in its place, or no model at all.

The backbone is transformers' own module, built without memory and filled tensor by tensor, so that loading
needs the model once plus one tensor. transformers' loader is not used: it leaves what it cannot find at
random values, with a warning. The head stays apart, in fp32. Knows nothing of tokenizers, frames or readouts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModel

from model_store.adapter_weights import open_merged
from model_store.backbone_layouts import Source, sources
from model_store.errors import UnsupportedModel
from model_store.families import check_config, plain_attention
from model_store.head_tensors import wanted_by_head
from model_store.manifest import Backbone, Head, Manifest
from model_store.manifest_rules import DTYPES
from model_store.resolved import resolve_manifest
from model_store.sources import ModelFiles
from model_store.weights_match import Wanted, match_tensors
from model_store.weights_reader import WeightFiles, read_equal


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model ready to be run.

    Attributes:
        backbone: transformers' module in its dtype, on its device, in evaluation mode, without gradients.
        head: The head's tensors in fp32 by their names in the files, on the device; of a `vocabulary` head's
            weight only the rows it reads.
        config: transformers' config of the backbone.
        fields: config.json as it stands in the folder.
        manifest: How it is read; what it leaves to config.json is filled in.
    """

    backbone: nn.Module
    head: Mapping[str, Tensor]
    config: Any
    fields: Mapping[str, Any]
    manifest: Manifest


def load_model(files: ModelFiles, *, dtype: str, device: str, attention: str | None = None) -> LoadedModel:
    """Builds a backbone and fills it, and its head, from the files.

    Args:
        files: Where the weights lie, and the manifest that says how they are named.
        dtype: What the backbone computes in: `float32`, `bfloat16` or `float16`.
        device: Where it shall live, in torch's words: `cpu`, `cuda:0`.
        attention: Name of an attention in transformers' registry; None takes what the family needs.

    Raises:
        UnsupportedModel: If the config asks for what is not honoured, or is not of the manifest's family.
        WeightsMismatch: If any tensor is missing, left over, of another shape, or not floating point.
        WeightsError: If the files cannot be read.
    """
    if dtype not in DTYPES:
        raise UnsupportedModel(f"dtype is {dtype!r}; allowed: {', '.join(DTYPES)}")
    plan = _plan(files, dtype, attention)
    backbone, manifest = plan.backbone, plan.manifest
    with open_merged(files.folder, files.adapter, files.manifest.backbone.side_files) as weights:
        names = _match(plan, weights, files)
        for key, source in plan.backbone_sources.items():
            _fill(backbone, key, source.cut(read_equal(weights, names[key])), device)
        head = {key: _head_tensor(weights, names[key], key, manifest.head, device) for key in plan.wanted_head}
    _compute_buffers(backbone, device)
    return LoadedModel(backbone.eval(), head, config=backbone.config, fields=plan.fields, manifest=manifest)


def match_files(files: ModelFiles, weights: WeightFiles) -> dict[str, tuple[str, ...]]:
    """Checks a model's tensors against what it needs, without reading them.

    Returns:
        For each tensor that is needed, the names under which it stands in the files.

    Raises:
        As `load_model`.
    """
    return _match(_plan(files, "float32", None), weights, files)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """An empty backbone, and where its tensors and the head's come from."""

    backbone: Any
    backbone_sources: Mapping[str, Source]
    wanted_head: Mapping[str, Wanted]
    fields: Mapping[str, Any]
    manifest: Manifest


def _plan(files: ModelFiles, dtype: str, attention: str | None) -> _Plan:
    fields = _read_fields(files.folder)
    manifest = resolve_manifest(files.manifest, fields)
    config = read_config(files.folder, manifest)
    attention = attention or plain_attention(manifest.backbone.family)
    backbone = _build_without_memory(config, getattr(torch, dtype), attention)
    wanted_head = wanted_by_head(
        manifest.head, fields, hidden_size=config.hidden_size, vocab_size=int(config.vocab_size)
    )
    return _Plan(backbone, _sources(backbone, config, manifest.backbone), wanted_head, fields, manifest)


def _match(plan: _Plan, weights: WeightFiles, files: ModelFiles) -> dict[str, tuple[str, ...]]:
    return match_tensors(
        {key: source.wanted for key, source in plan.backbone_sources.items()} | dict(plan.wanted_head),
        weights.facts(),
        ignored=plan.manifest.backbone.ignored,
        where=str(files.folder),
    )


def read_config(folder: Path, manifest: Manifest) -> Any:
    """Reads config.json as transformers' config of the manifest's family; `auto_map` in it is not looked at.

    Raises:
        UnsupportedModel: If it is of another family, or transformers or the packed attention refuse a field.
    """
    path = folder / "config.json"
    fields = _read_fields(folder)
    family = manifest.backbone.family
    expected = manifest.backbone.model_type or family
    if fields.get("model_type") != expected:
        raise UnsupportedModel(
            f"{path}: model_type is {fields.get('model_type')!r}; manifest {manifest.name!r} says {expected!r}"
        )
    try:
        config = CONFIG_MAPPING[family].from_dict(fields | {"model_type": family})
    except Exception as error:  # transformers validates by exceptions of several libraries, with no common base
        raise UnsupportedModel(f"{path}: transformers refuses it: {error}") from error
    check_config(config, max_tokens=manifest.limits.max_tokens)
    return config


def _read_fields(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return fields


def _head_tensor(weights: WeightFiles, names: tuple[str, ...], key: str, head: Head, device: str) -> Tensor:
    tensor = read_equal(weights, names)
    if head.kind == "vocabulary" and key == head.weight:
        if max(head.rows) >= len(tensor):
            raise UnsupportedModel(f"head.rows is {list(head.rows)}; allowed: 0 to {len(tensor) - 1}, rows of {key}")
        tensor = tensor[list(head.rows)]
    return tensor.to(device, torch.float32, copy=True)


def _sources(backbone: nn.Module, config: Any, how: Backbone) -> dict[str, Source]:
    shapes = {key: tuple(tensor.shape) for key, tensor in backbone.state_dict().items()}
    return sources(how.layout, shapes, (how.prefix, *how.aliases), config)


def _build_without_memory(config: Any, dtype: torch.dtype, attention: str) -> nn.Module:
    with torch.device("meta"):
        backbone: nn.Module = AutoModel.from_config(  # type: ignore[no-untyped-call]
            config, dtype=dtype, attn_implementation=attention
        )
    return backbone.requires_grad_(False)


def _fill(backbone: nn.Module, key: str, source: Tensor, device: str) -> None:
    """Puts a copy of `source` in the place of a tensor without memory, in that tensor's dtype."""
    path, _, leaf = key.rpartition(".")
    module = backbone.get_submodule(path)
    empty = getattr(module, leaf)
    # A copy in memory of our own: the source may be a view of a file that someone replaces while we serve.
    filled = torch.empty(empty.shape, dtype=empty.dtype, device=device).copy_(source)
    setattr(module, leaf, nn.Parameter(filled, requires_grad=False) if isinstance(empty, nn.Parameter) else filled)


def _compute_buffers(backbone: nn.Module, device: str) -> None:
    """Computes what is in no file but follows from the config: the rotary frequencies, position numbers.

    Always on the CPU, so that they are the same bits wherever the backbone lives.
    """
    for module in backbone.modules():
        pending = {name: buffer for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta}
        for name in [name for name in _BUFFERS if name in pending]:
            setattr(module, name, _BUFFERS[name](module, pending.pop(name)).to(device))
        if pending:
            computed = dict(type(module)(config=backbone.config).named_buffers(recurse=False))
            for name in pending:
                setattr(module, name, computed[name].to(device))


_BUFFERS: Mapping[str, Callable[[Any, Tensor], Tensor]] = {
    "position_ids": lambda _, empty: torch.arange(empty.shape[-1]).expand(empty.shape),  # DeBERTa
    "embed_scale": lambda module, _: torch.tensor(module.scalar_embed_scale),  # Gemma-2
}
"""Buffers of modules that cannot be built from the config alone."""
