"""A manifest in words: everything in it that decides a score, and what is known about the model.

What `reward-server models show` prints, and the tables of docs/models.md are made of. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator

from model_store.adapter import Adapter
from model_store.families import is_packed
from model_store.manifest import Head, Manifest, Output, Readout, ReadoutKind, Template

_READOUTS = {
    ReadoutKind.LAST_TOKEN: "the last token",
    ReadoutKind.RIGHTMOST_NOT_ID: "the rightmost token that is not {token}",
    ReadoutKind.BEFORE_FIRST_ID: "the token before the first {token}, else the last",
    ReadoutKind.LAST_OF_ID: "the last {token}",
    ReadoutKind.APPENDED_ID: "{token}, appended unless it ends the pair",
    ReadoutKind.EVERY_ID: "every {token}, one value each",
    ReadoutKind.FIRST_TOKEN: "the first token",
    ReadoutKind.FIXED_SLOT: "the last of {slot} slots padded with {token}",
}
_BOS = {
    "one": "exactly one, whatever the template writes",
    "none": "none",
    "double": "two",
    "strip": "the template's is removed wherever it stands, the tokenizer adds one",
    "template": "as the template writes it",
}
_EOS = {
    "template": "as the template writes it",
    "append": "one is appended unless it is there",
    "none": "a closing one is removed",
}
_SPECIALS = {
    "parse": "control strings in user text are control tokens, as the authors' code reads them",
    "escape": "control strings in user text are plain text",
}


def describe_manifest(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Everything a manifest says, as (subject, words), in the order in which a pair meets it."""
    yield "name", manifest.name
    yield "title", manifest.title or "none"
    yield "licence", manifest.licence or "not stated"
    yield "verified", "yes: its layout is sourced" if manifest.is_verified else "no: it is not fully sourced"
    yield "comes from", _origin(manifest)
    yield from _template(manifest.template)
    yield "longest pair", _limits(manifest)
    yield "backbone", _backbone(manifest)
    yield (
        "quantization",
        "none; int8 or fp8 weights where served with --quantization, and checked then; never the head's",
    )
    yield "reads at", describe_readout(manifest.readout)
    yield "head", describe_head(manifest.head)
    yield "score", describe_output(manifest.output)
    yield "golden pairs", f"{len(manifest.golden.pairs) or 'none'}" + _tolerances(manifest)
    yield "pinned files", ", ".join(manifest.files) or "none"
    yield from manifest.notes.items()
    for guess in manifest.guesses:
        yield "guessed", guess


def describe_adapter(adapter: Adapter) -> str:
    """What a LoRA adapter changes, and by how much."""
    own = " (some modules have their own)" if adapter.rank_pattern or adapter.alpha_pattern else ""
    over = "its square root" if adapter.is_rank_stabilized else "it"
    revision = f" at {adapter.base_revision}" if adapter.base_revision else ""
    return (
        f"LoRA in {adapter.folder}, of rank {adapter.rank} and scale {adapter.alpha:g} over {over}{own}, merged into "
        f"{adapter.base or 'the base given'}{revision} at load"
    )


def describe_readout(readout: Readout) -> str:
    """Where the head reads, in words."""
    token = f"token {readout.token_id}" if readout.token_key is None else f"config.json's {readout.token_key}"
    words = _READOUTS[readout.kind].format(token=token, slot=readout.slot)
    words += " in the response" if readout.in_response else ""
    return words + ("; the gate where the last assistant header begins" if readout.gate_marker else "")


def describe_head(head: Head) -> str:
    """A head's kind, its tensors and its outputs, in words; always computed in fp32."""
    outputs = f", {len(head.objectives)} objectives: {', '.join(head.objectives)}" if head.objectives else ""
    match head.kind:
        case "mlp":
            names = " -> ".join(_layer(layer.weight, layer.activation) for layer in head.layers)
            return f"layers {names}{outputs}"
        case "vocabulary":
            return f"the logits of tokens {', '.join(map(str, head.rows))} ({head.weight}){outputs}"
        case "gated":
            names = " -> ".join(_layer(layer.weight, layer.activation) for layer in head.layers) or head.weight
            means = ", the means of normal distributions" if head.spreads else ""
            return f"{'layers' if head.layers else 'linear'} ({names}){means}, weighed by a gate{outputs}"
        case _:
            bias = f", {head.bias}" if head.bias else ", no bias"
            return f"linear ({head.weight}{bias}){outputs}"


def describe_output(output: Output) -> str:
    """What is done to the head's outputs, in words, and which way is better."""
    kinds = {
        "raw": "the head's value",
        "affine": f"the head's value * {output.scale:g} + {output.shift:g}",
        "sigmoid": "the head's value through a sigmoid",
        "negate": "the head's value with its sign turned",
        "standardized": "the head's value less the normalizer's mean, over its deviation",
        "scaled": "the head's value over the normalizer's deviation",
        "weighted_sum": f"the outputs times {list(output.weights)}, summed",
        "probability": f"softmax over the outputs, number {output.index}",
    }
    steps = f"; of the steps' values: {output.steps}" if output.steps else ""
    return f"{kinds[output.kind]}{steps}; {'LOWER' if output.lower_is_better else 'higher'} is better"


def _layer(weight: str, activation: str) -> str:
    return weight if activation == "none" else f"{weight} ({activation})"


def _origin(manifest: Manifest) -> str:
    origin = manifest.origin
    where = origin.repository or origin.package_folder or "a folder"
    revision = f" at {origin.revision}" if origin.revision else ""
    tokenizer = f", tokenizer from {origin.tokenizer_repository}" if origin.tokenizer_repository else ""
    return f"{where}{revision}{tokenizer}"


def _template(template: Template) -> Iterator[tuple[str, str]]:
    yield "template", "the tokenizer's own" if template.jinja is None else template.jinja
    yield "BOS", _BOS[template.bos]
    yield "EOS", _EOS[template.eos]
    yield "user text", _SPECIALS[template.user_specials]
    if template.max_user_turns is not None:
        yield "user turns", f"at most {template.max_user_turns}"
    if template.step_mark is not None:
        yield (
            "steps",
            f"{_shown(template.step_mark)} is written behind each step; callers part them by"
            f" {template.step_separator!r}" + (", and each is tokenized by itself" if template.piecewise else ""),
        )


def _shown(text: str) -> str:
    return text if text.strip() else repr(text)


def _limits(manifest: Manifest) -> str:
    limits = manifest.limits
    longest = f"{limits.max_tokens} tokens" if limits.max_tokens else "config.json's max_position_embeddings"
    cut = {"none": "refuse longer ones", "left": "cut on the left", "right": "cut on the right"}
    return f"{longest}; its authors {cut[limits.truncation_side]}"


def _backbone(manifest: Manifest) -> str:
    backbone = manifest.backbone
    path = "packed" if is_packed(backbone.family) else "one pair a forward"
    expects = "".join(f", config.json must say {key} = {text}" for key, text in backbone.expects.items())
    return f"{backbone.family}, tensors {backbone.prefix}*, {manifest.dtype}, {path}{expects}"


def _tolerances(manifest: Manifest) -> str:
    within = ", ".join(f"{size:g} in {dtype}" for dtype, size in manifest.golden.tolerance.items())
    return f", within {within}" if within else ""
