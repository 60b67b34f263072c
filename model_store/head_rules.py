"""What a manifest may say of head, readout and output: closed sets of words, and fields that need one another.

Part of `manifest_rules.py`, which says why there are rules. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from model_store.manifest import Gate, Head, Layer, Limits, Manifest, Output, Readout, ReadoutKind

HEAD_KINDS = ("linear", "mlp", "vocabulary", "gated")
ACTIVATIONS = ("none", "relu", "leaky_relu", "gelu", "silu", "tanh", "selu")
ONE_OUTPUT_KINDS = ("raw", "affine", "sigmoid", "negate", "standardized", "scaled")
SEVERAL_OUTPUT_KINDS = ("weighted_sum", "probability")
STEP_RULES = ("last", "min", "product", "mean")

_NORMALIZED = ("standardized", "scaled")
_NEEDS_ID = (
    ReadoutKind.RIGHTMOST_NOT_ID,
    ReadoutKind.BEFORE_FIRST_ID,
    ReadoutKind.FIXED_SLOT,
    ReadoutKind.LAST_OF_ID,
    ReadoutKind.APPENDED_ID,
    ReadoutKind.EVERY_ID,
)


def head_complaints(manifest: Manifest) -> Iterator[str]:
    """Every broken rule of head, readout and output, in words that name the key and what is allowed."""
    head, output, readout = manifest.head, manifest.output, manifest.readout
    yield from _head(head)
    yield from _readout(readout, manifest.limits)
    yield from _output(output, num_outputs(head))
    if readout.gate_marker and head.gate is None:
        yield "readout.gate_marker is given; a head without a gate takes none"
    if (head.norm is not None) != (output.kind in _NORMALIZED):
        yield f"head.norm and output.kind {' or '.join(_NORMALIZED)} need each other; allowed: both or neither"
    if (readout.kind is ReadoutKind.EVERY_ID) != bool(output.steps):
        yield "readout.kind 'every_id' and output.steps need each other; allowed: both or neither"


def one_of(key: str, given: str, allowed: Sequence[str]) -> Iterator[str]:
    """A complaint if a word is not one of a closed set."""
    if given not in allowed:
        yield f"{key} is {given!r}; allowed: {', '.join(map(repr, allowed))}"


def num_outputs(head: Head) -> int:
    """How many numbers a head gives for one hidden state before the output's transform; 1 once gated."""
    if head.kind == "mlp":
        return (head.layers[-1].outputs or 1) if head.layers else 1
    if head.kind == "vocabulary":
        return len(head.rows)
    return 1 if head.kind == "gated" else max(len(head.objectives), 1)


def _head(head: Head) -> Iterator[str]:
    yield from one_of("head.kind", head.kind, HEAD_KINDS)
    kind = f"head.kind {head.kind!r}"
    for key, given, is_needed in (
        ("layers", head.layers, head.kind == "mlp" or (head.kind == "gated" and bool(head.layers))),
        ("rows", head.rows, head.kind == "vocabulary"),
        ("gate", head.gate, head.kind == "gated"),
    ):
        if is_needed and not given:
            yield f"head.{key} is missing; {kind} needs it"
        if not is_needed and given:
            yield f"head.{key} is {given!r}; {kind} takes none"
    if head.kind == "gated" and not head.objectives:
        yield f"head.objectives is missing; {kind} needs the names of its objectives"
    if head.kind != "gated" and (_several_values(head) or head.transform):
        yield f"head.transform, quantiles, bins or spreads are given; {kind} takes none"
    if len(_several_values(head)) > 1:
        yield f"head.{', '.join(_several_values(head))} are given; allowed: one of them"
    if head.bins == 1 or head.bins < 0:
        yield f"head.bins is {head.bins}; allowed: 2 and up, or 0"
    if head.kind == "vocabulary" and (head.bias or min(head.rows, default=0) < 0):
        yield f"head.bias is {head.bias!r}, rows are {head.rows}; {kind} takes no bias, and ids of 0 and up"
    if head.kind in ("mlp", "vocabulary") and head.objectives and len(head.objectives) != num_outputs(head):
        yield f"head.objectives names {len(head.objectives)} outputs; the head has {num_outputs(head)}"
    if head.quantiles < 1:
        yield f"head.quantiles is {head.quantiles}; allowed: 1 and up"
    yield from _layers("head.layers", head.layers)
    yield from _gate(head.gate)


def _several_values(head: Head) -> list[str]:
    """What gives an objective more than one value."""
    has_quantiles = head.quantiles != 1 or head.quantiles_key is not None
    given = {"quantiles": has_quantiles, "bins": bool(head.bins), "spreads": head.spreads}
    return [name for name, is_given in given.items() if is_given]


def _gate(gate: Gate | None) -> Iterator[str]:
    if gate is None:
        return
    if not gate.layers:
        yield "head.gate.layers is empty; allowed: one layer or more"
    if not (math.isfinite(gate.temperature) and gate.temperature > 0):
        yield f"head.gate.temperature is {gate.temperature}; allowed: finite, above 0"
    yield from _layers("head.gate.layers", gate.layers)


def _layers(key: str, layers: Sequence[Layer]) -> Iterator[str]:
    for place, layer in enumerate(layers):
        yield from one_of(f"{key}[{place}].activation", layer.activation, ACTIVATIONS)
        if layer.outputs is not None and layer.outputs < 1:
            yield f"{key}[{place}].outputs is {layer.outputs}; allowed: 1 and up, or no such key"


def _readout(readout: Readout, limits: Limits) -> Iterator[str]:
    kind = f"readout.kind {readout.kind.value!r}"
    needs_id = readout.kind in _NEEDS_ID
    has_id = readout.token_id is not None or readout.token_key is not None
    if needs_id and not has_id:
        yield f"readout.token_id is missing; {kind} needs it, or token_key"
    if not needs_id and readout.token_id is not None:
        yield f"readout.token_id is {readout.token_id}; {kind} takes none"
    if not needs_id and readout.token_key is not None:
        yield f"readout.token_key is {readout.token_key!r}; {kind} takes none"
    if readout.token_id is not None and readout.token_key is not None:
        yield "readout.token_id and token_key are both given; allowed: one of them"
    if readout.token_id is not None and readout.token_id < 0:
        yield f"readout.token_id is {readout.token_id}; allowed: 0 and up"
    if readout.in_response and readout.kind is not ReadoutKind.EVERY_ID:
        yield f"readout.in_response is true; {kind} takes none"
    if min(readout.gate_marker, default=0) < 0:
        yield f"readout.gate_marker is {list(readout.gate_marker)}; allowed: ids of 0 and up"
    yield from _slot(readout, limits, kind)


def _slot(readout: Readout, limits: Limits, kind: str) -> Iterator[str]:
    if readout.kind is not ReadoutKind.FIXED_SLOT:
        if readout.slot is not None:
            yield f"readout.slot is {readout.slot}; {kind} takes none"
    elif readout.slot is None:
        yield f"readout.slot is missing; {kind} needs it"
    elif not 1 <= (limits.max_tokens or 0) <= readout.slot:
        # A text longer than the row would have no slot to be read at.
        yield f"limits.max_tokens is {limits.max_tokens}; {kind} allows 1 to readout.slot ({readout.slot})"


def _output(output: Output, outputs: int) -> Iterator[str]:
    yield from one_of("output.kind", output.kind, ONE_OUTPUT_KINDS + SEVERAL_OUTPUT_KINDS)
    if output.steps:
        yield from one_of("output.steps", output.steps, STEP_RULES)
    if output.kind in ONE_OUTPUT_KINDS and outputs != 1:
        yield f"output.kind is {output.kind!r}; a head of {outputs} outputs allows: {', '.join(SEVERAL_OUTPUT_KINDS)}"
    if output.kind == "weighted_sum" and len(output.weights) != outputs:
        yield f"output.weights holds {len(output.weights)} numbers; the head has {outputs} outputs"
    if output.kind != "weighted_sum" and output.weights:
        yield f"output.weights is given; output.kind {output.kind!r} takes none"
    if output.kind == "probability" and not 0 <= output.index < outputs:
        yield f"output.index is {output.index}; allowed: 0 to {outputs - 1}"
    if not all(map(math.isfinite, output.weights)):
        yield f"output.weights is {list(output.weights)}; allowed: finite numbers"
    if output.kind != "affine" and (output.scale, output.shift) != (1.0, 0.0):
        yield f"output.scale and shift are {output.scale} and {output.shift}; output.kind {output.kind!r} takes 1 and 0"
    if not math.isfinite(output.scale) or output.scale == 0:
        yield f"output.scale is {output.scale}; allowed: finite and not 0"
    if not math.isfinite(output.shift):
        yield f"output.shift is {output.shift}; allowed: finite"


def expects_complaints(expects: dict[str, str]) -> Iterator[str]:
    """Complaints about `backbone.expects` values that are not JSON text."""
    for key, text in expects.items():
        try:
            json.loads(text)
        except ValueError:
            yield f"backbone.expects.{key} is {text!r}; allowed: JSON text, such as 'true' or '\"mlp\"'"
