"""What a manifest may say: closed sets of words, ranges, and fields that need one another.

`manifest_toml.py` has already made sure of keys and types; here are the meanings. Rules exist so that a wrong
manifest fails when it is read, by key, and never as a plausible wrong score. Standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from model_store.backbone_layouts import LAYOUTS
from model_store.errors import ManifestError
from model_store.families import FAMILIES
from model_store.head_rules import expects_complaints, head_complaints, one_of
from model_store.manifest import Golden, Limits, Manifest, Template

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
    yield from one_of("dtype", manifest.dtype, DEFAULT_DTYPES)
    yield from one_of("backbone.family", manifest.backbone.family, FAMILIES)
    yield from one_of("backbone.layout", manifest.backbone.layout, LAYOUTS)
    yield from expects_complaints(manifest.backbone.expects)
    yield from head_complaints(manifest)
    yield from _template(manifest.template)
    yield from _limits(manifest.limits)
    yield from _golden(manifest.golden, manifest.dtype)
    yield from _files(manifest.files)


def _template(template: Template) -> Iterator[str]:
    yield from one_of("template.user_specials", template.user_specials, ("escape", "parse"))
    yield from one_of("template.bos", template.bos, ("one", "none", "double", "strip", "template"))
    yield from one_of("template.eos", template.eos, ("template", "append", "none"))
    if "" in template.cut_after:
        yield "template.cut_after holds an empty text; allowed: texts that open an assistant turn"
    if template.max_user_turns is not None and template.max_user_turns < 1:
        yield f"template.max_user_turns is {template.max_user_turns}; allowed: 1 and up, or no such key"
    if template.piecewise and (template.step_mark is None or template.user_specials != "parse"):
        # Marks of escaped control strings would have to be cut out of the pieces again.
        yield "template.piecewise is true; allowed: with a step_mark, and with user_specials 'parse'"
    if template.step_mark == "" or not template.step_separator:
        yield "template.step_mark or step_separator is empty; allowed: a text, or no such key"


def _limits(limits: Limits) -> Iterator[str]:
    yield from one_of("limits.truncation_side", limits.truncation_side, ("none", "left", "right"))
    if limits.max_tokens is not None and limits.max_tokens < 1:
        yield f"limits.max_tokens is {limits.max_tokens}; allowed: 1 and up, or no such key"


def _golden(golden: Golden, dtype: str) -> Iterator[str]:
    for key, tolerance in golden.tolerance.items():
        yield from one_of("a key of golden.tolerance", key, DTYPES)
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
