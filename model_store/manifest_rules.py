"""What a manifest may say: closed sets of words, ranges, and fields that need one another.

`manifest_toml.py` has already made sure of keys and types; here are the meanings. Rules exist so that a wrong
manifest fails when it is read, by key, and never as a plausible wrong score. Standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from model_store.errors import ManifestError
from model_store.families import FAMILIES
from model_store.manifest import Golden, Limits, Manifest, Output, Readout, ReadoutKind, Template

DTYPES = ("float32", "bfloat16", "float16")
"""Dtypes a backbone can be run in, and so the keys of `golden.tolerance`."""

DEFAULT_DTYPES = ("float32", "bfloat16")
"""Dtypes a manifest may choose: float16 overflows in some backbones, so only an operator asks for it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_manifest(manifest: Manifest, where: str) -> None:
    """Checks everything that types alone cannot say.

    Args:
        manifest: What was read or built.
        where: The file it came from, for messages.

    Raises:
        ManifestError: Naming the file, all keys that break a rule, what was given and what is allowed.
    """
    if complaints := list(_complaints(manifest)):
        raise ManifestError(f"{where}: " + "; ".join(complaints))


def _complaints(manifest: Manifest) -> Iterator[str]:
    if not _NAME.fullmatch(manifest.name):
        yield f"name is {manifest.name!r}; allowed: letters, digits and . _ / - after a letter or digit"
    yield from _one_of("dtype", manifest.dtype, DEFAULT_DTYPES)
    yield from _one_of("backbone.family", manifest.backbone.family, FAMILIES)
    yield from _one_of("head.kind", manifest.head.kind, ("linear",))
    yield from _readout(manifest.readout, manifest.limits)
    yield from _template(manifest.template)
    yield from _limits(manifest.limits)
    yield from _output(manifest.output)
    yield from _golden(manifest.golden, manifest.dtype)
    yield from _files(manifest.files)


def _one_of(key: str, given: str, allowed: tuple[str, ...]) -> Iterator[str]:
    if given not in allowed:
        yield f"{key} is {given!r}; allowed: {', '.join(map(repr, allowed))}"


def _readout(readout: Readout, limits: Limits) -> Iterator[str]:
    kind = f"readout.kind {readout.kind.value!r}"
    needs_id = readout.kind is not ReadoutKind.LAST_TOKEN
    needs_slot = readout.kind is ReadoutKind.FIXED_SLOT
    for key, value, is_needed in (
        ("token_id", readout.token_id, needs_id),
        ("slot", readout.slot, needs_slot),
    ):
        if is_needed and value is None:
            yield f"readout.{key} is missing; {kind} needs it"
        if not is_needed and value is not None:
            yield f"readout.{key} is {value}; {kind} takes none"
    if readout.token_id is not None and readout.token_id < 0:
        yield f"readout.token_id is {readout.token_id}; allowed: 0 and up"
    if readout.slot is not None and not 1 <= (limits.max_tokens or 0) <= readout.slot:
        # A text longer than the row would have no slot to be read at.
        yield f"limits.max_tokens is {limits.max_tokens}; {kind} allows 1 to readout.slot ({readout.slot})"


def _template(template: Template) -> Iterator[str]:
    yield from _one_of("template.user_specials", template.user_specials, ("escape", "parse"))
    yield from _one_of("template.bos", template.bos, ("one", "none", "double", "strip"))
    yield from _one_of("template.eos", template.eos, ("template", "append", "none"))
    if "" in template.cut_after:
        yield "template.cut_after holds an empty text; allowed: texts that open an assistant turn"
    if template.max_user_turns is not None and template.max_user_turns < 1:
        yield f"template.max_user_turns is {template.max_user_turns}; allowed: 1 and up, or no such key"


def _limits(limits: Limits) -> Iterator[str]:
    yield from _one_of("limits.truncation_side", limits.truncation_side, ("none", "left", "right"))
    if limits.max_tokens is not None and limits.max_tokens < 1:
        yield f"limits.max_tokens is {limits.max_tokens}; allowed: 1 and up, or no such key"


def _output(output: Output) -> Iterator[str]:
    yield from _one_of("output.kind", output.kind, ("raw", "affine"))
    if output.kind == "raw" and (output.scale, output.shift) != (1.0, 0.0):
        yield f"output.scale and shift are {output.scale} and {output.shift}; output.kind 'raw' takes 1 and 0"
    if not math.isfinite(output.scale) or output.scale == 0:
        yield f"output.scale is {output.scale}; allowed: finite and not 0"
    if not math.isfinite(output.shift):
        yield f"output.shift is {output.shift}; allowed: finite"


def _golden(golden: Golden, dtype: str) -> Iterator[str]:
    for key, tolerance in golden.tolerance.items():
        yield from _one_of("a key of golden.tolerance", key, DTYPES)
        if not (math.isfinite(tolerance) and tolerance >= 0):
            yield f"golden.tolerance.{key} is {tolerance}; allowed: finite, 0 and up"
    if golden.pairs and dtype not in golden.tolerance:
        yield f"golden.tolerance.{dtype} is missing; golden pairs need one for the default dtype"
    names = [pair.name for pair in golden.pairs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"golden.pairs name {name!r} is given {names.count(name)} times; allowed: once"
    for pair in golden.pairs:
        if not pair.prompt:
            yield f"golden.pairs {pair.name!r} has an empty prompt; allowed: one turn or more"
        if not math.isfinite(pair.score):
            yield f"golden.pairs {pair.name!r} has score {pair.score}; allowed: finite"


def _files(files: dict[str, str]) -> Iterator[str]:
    for name, digest in files.items():
        if not _is_inside(name):
            yield f"files has the name {name!r}; allowed: paths inside the model's folder, with /"
        if not _SHA256.fullmatch(digest):
            yield f"files.{name} is {digest!r}; allowed: a sha256 of 64 lower-case hex digits"


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name
