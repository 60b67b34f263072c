"""Which tensors a manifest's head consists of, by their names in the files, and the shapes they must have.

Sizes follow from the backbone's config and the manifest, never from the tensors themselves, so that a tensor of
another shape is an error. Knows names and numbers only: no torch, no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_store.manifest import Gate, Head, Layer
from model_store.weights_match import Wanted

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
"""What a batch normalization holds that its evaluation reads."""

NORMALIZER = ("mean", "var")
"""What a score normalizer holds that scoring reads."""


def wanted_by_head(head: Head, config: Mapping[str, Any], *, hidden_size: int, vocab_size: int) -> dict[str, Wanted]:
    """The head's tensors.

    Args:
        config: config.json, for the keys that the manifest says sizes are in.

    Returns:
        For each name in the files, which is also the key, the tensor's shape.
    """
    shapes = dict(_shapes(head, config, hidden_size, vocab_size))
    return {name: Wanted((name,), shape) for name, shape in shapes.items()}


def quantiles_of(head: Head, config: Mapping[str, Any]) -> int:
    """How many values an objective has: the config's word, where there is one, else the manifest's."""
    return int(_said(config, head.quantiles_key, head.quantiles))


def temperature_of(gate: Gate, config: Mapping[str, Any]) -> float:
    """What a gate's outputs are divided by: the config's word, where there is one, else the manifest's."""
    return float(_said(config, gate.temperature_key, gate.temperature))


def is_softmax(gate: Gate, config: Mapping[str, Any]) -> bool:
    """Whether a gate's outputs go through a softmax: the config's word, where there is one, else the manifest's."""
    return bool(_said(config, gate.softmax_key, gate.softmax))


def _num_values(head: Head, config: Mapping[str, Any]) -> int:
    return max(len(head.objectives), 1) * (2 if head.spreads else head.bins or quantiles_of(head, config))


def _said(config: Mapping[str, Any], key: str | None, otherwise: Any) -> Any:
    given = config.get(key) if key is not None else None
    return otherwise if given is None else given


_Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _shapes(head: Head, config: Mapping[str, Any], hidden_size: int, vocab_size: int) -> _Shapes:
    if head.kind == "mlp":
        yield from _layers(head.layers, config, hidden_size)
    elif head.kind == "vocabulary":
        yield head.weight, (vocab_size, hidden_size)
    elif head.layers:
        yield from _layers(head.layers, config, hidden_size, last=_num_values(head, config))
    else:
        outputs = _num_values(head, config)
        yield head.weight, (outputs, hidden_size)
        if head.bias:
            yield head.bias, (outputs,)
    if head.gate is not None:
        yield from _layers(head.gate.layers, config, hidden_size, last=len(head.objectives))
        if head.gate.scale:
            yield head.gate.scale, (1,)
    if head.transform:
        yield head.transform, (len(head.objectives), len(head.objectives))
    if head.norm:
        yield from ((f"{head.norm}.{name}", (1,)) for name in NORMALIZER)


def _layers(layers: Sequence[Layer], config: Mapping[str, Any], inputs: int, last: int = 1) -> _Shapes:
    """Shapes of layers in order; the last has `last` outputs where nobody says otherwise, others as many as inputs."""
    for place, layer in enumerate(layers):
        unsaid = last if place == len(layers) - 1 else inputs
        outputs = int(_said(config, layer.outputs_key, layer.outputs or unsaid))
        yield layer.weight, (outputs, inputs)
        if layer.bias:
            yield layer.bias, (outputs,)
        if layer.norm:
            yield from ((f"{layer.norm}.{name}", (outputs,)) for name in BATCH_NORM)
        inputs = outputs
