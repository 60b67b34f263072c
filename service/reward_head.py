"""Builds the engine's head from what a manifest says and the tensors the loader found: where the two rooms meet.

Needs torch and the two rooms alone, so that it works on a bare machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from model_store.head_tensors import BATCH_NORM, is_softmax, temperature_of
from model_store.loader import LoadedModel
from model_store.manifest import Head as HeadSpec
from model_store.manifest import Layer, Manifest
from service.engine import outputs
from service.engine.gated_head import Gate, GatedHead
from service.engine.head_layers import BatchNorm, HeadLayer
from service.engine.heads import Head, LinearHead, RowHead, StepHead
from service.engine.outputs import Output


def build_head(model: LoadedModel) -> Head:
    """The head of a loaded model."""
    manifest, tensors = model.manifest, model.head
    spec, output = manifest.head, manifest.output
    if spec.kind == "gated":
        return _gated(model, _output(manifest, tensors))
    if spec.kind == "linear" and output.kind in ("raw", "affine") and not spec.objectives and not output.steps:
        return LinearHead(tensors[spec.weight], _or_none(tensors, spec.bias), scale=output.scale, shift=output.shift)
    row = RowHead(_row_layers(spec, tensors), _output(manifest, tensors), spec.objectives)
    return StepHead(row, output.steps) if output.steps else row


def _row_layers(spec: HeadSpec, tensors: Mapping[str, Tensor]) -> tuple[HeadLayer, ...]:
    if spec.layers:
        return _layers(spec.layers, tensors)
    return (HeadLayer(tensors[spec.weight], _or_none(tensors, spec.bias)),)


def _gated(model: LoadedModel, output: Output) -> GatedHead:
    spec, tensors = model.manifest.head, model.head
    if spec.gate is None:
        raise AssertionError("the manifest's rules admit no gated head without a gate")
    return GatedHead(
        layers=_row_layers(spec, tensors),
        gate=Gate(
            _layers(spec.gate.layers, tensors),
            temperature=temperature_of(spec.gate, model.fields),
            scale=_or_none(tensors, spec.gate.scale),
            is_softmax=is_softmax(spec.gate, model.fields),
        ),
        transform_OO=_or_none(tensors, spec.transform),
        objectives=spec.objectives,
        output=output,
        has_gate_row=bool(model.manifest.readout.gate_marker),
        has_bins=spec.bins > 0,
        has_spreads=spec.spreads,
    )


def _layers(layers: Sequence[Layer], tensors: Mapping[str, Tensor]) -> tuple[HeadLayer, ...]:
    return tuple(
        HeadLayer(tensors[layer.weight], _or_none(tensors, layer.bias), layer.activation, _norm(layer.norm, tensors))
        for layer in layers
    )


def _norm(prefix: str | None, tensors: Mapping[str, Tensor]) -> BatchNorm | None:
    return BatchNorm(*(tensors[f"{prefix}.{name}"] for name in BATCH_NORM)) if prefix else None


def _or_none(tensors: Mapping[str, Tensor], name: str | None) -> Tensor | None:
    return tensors[name] if name else None


def _output(manifest: Manifest, tensors: Mapping[str, Tensor]) -> Output:
    output, norm = manifest.output, manifest.head.norm
    match output.kind:
        case "affine":
            return outputs.affine(output.scale, output.shift)
        case "sigmoid":
            return outputs.sigmoid()
        case "negate":
            return outputs.negate()
        case "standardized":
            return outputs.standardized(tensors[f"{norm}.mean"], tensors[f"{norm}.var"])
        case "scaled":
            return outputs.standardized(None, tensors[f"{norm}.var"])
        case "weighted_sum":
            return outputs.weighted_sum(output.weights, like=next(iter(tensors.values())))
        case "probability":
            return outputs.probability(output.index)
        case _:
            return outputs.raw()
