"""Manifests: what is written reads back, and nothing wrong is let through."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model_store.errors import ManifestError
from model_store.manifest import Golden, GoldenPair, Manifest, Output, Readout, ReadoutKind, Template, Turn
from model_store.manifest_rules import check_manifest
from model_store.manifest_toml import parse_manifest, read_manifest, render_manifest
from model_store.toml_writer import write_toml
from tests.model_store.manifests import AFFINE, BINS, FULL, MINIMAL, PROCESS, SPREADS, WEIGHTED


def fields_of(record: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every leaf field of a manifest: its path, its value and its default."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{path}{field.name}.")
        else:
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            yield f"{path}{field.name}", value, default


def test_the_full_manifest_has_no_field_at_its_default() -> None:
    unset = {path for path, value, default in fields_of(FULL) if value == default}
    for other in (AFFINE, BINS, PROCESS, SPREADS, WEIGHTED):
        unset -= {path for path, value, default in fields_of(other) if value != default}

    assert unset == set()


@pytest.mark.parametrize(
    "manifest", [FULL, MINIMAL, PROCESS, AFFINE, WEIGHTED, BINS, SPREADS], ids=lambda manifest: manifest.name
)
def test_what_is_rendered_parses_back_equal(manifest: Manifest) -> None:
    assert parse_manifest(render_manifest(manifest), "there") == manifest


def test_rendering_is_stable() -> None:
    text = render_manifest(FULL)

    assert render_manifest(parse_manifest(text, "there")) == text


@example(text="\n\nfirst and last\nlines empty\n", key=" ", words=["\n"])
@example(text='a\r\nb"""\\\x00\x7f', key='"', words=["\t\\"])
@given(text=st.text(), key=st.text(min_size=1), words=st.lists(st.text(min_size=1)))
def test_any_text_survives_a_round_trip(text: str, key: str, words: list[str]) -> None:
    manifest = dataclasses.replace(
        MINIMAL,
        title=text,
        notes={key: text},
        template=Template(jinja=text, cut_after=tuple(words)),
        golden=Golden(pairs=(GoldenPair("one", (Turn("user", text),), text, 0.0),), tolerance={"float32": 0.0}),
    )

    assert parse_manifest(render_manifest(manifest), "there") == manifest


@given(scale=st.floats(allow_nan=False, allow_infinity=False).filter(bool), shift=st.floats(-1e300, 1e300))
def test_any_number_survives_a_round_trip(scale: float, shift: float) -> None:
    manifest = dataclasses.replace(MINIMAL, output=Output("affine", scale, shift))

    assert parse_manifest(render_manifest(manifest), "there") == manifest


def test_a_whole_number_is_taken_where_a_number_is_asked_for() -> None:
    manifest = parse_manifest(least('[output]\nkind = "affine"\nscale = 2'), "there")

    assert manifest.output.scale == 2.0
    assert type(manifest.output.scale) is float


def test_the_writer_refuses_what_toml_cannot_say() -> None:
    with pytest.raises(TypeError, match="cannot write None as TOML"):
        write_toml({"a": None})


def least(more: str = "", top: str = "") -> str:
    """The least manifest, with further lines at its end and at its top level."""
    return f'name = "least"\n{top}\n[backbone]\nfamily = "llama"\n{more}\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "there: not valid TOML"),
        ('[backbone]\nfamily = "llama"', "there: key name is missing"),
        ('name = "x"', "there: key backbone is missing"),
        ('name = "x"\n[backbone]', "there: key backbone.family is missing"),
        ('name = "x"\nbackbone = "llama"', "there: backbone is 'llama'; allowed: a table"),
        (least(top='titel = "x"'), "there: unknown key titel; did you mean 'title'? allowed: name, "),
        (least("[readot]"), "there: unknown key readot; did you mean 'readout'?"),
        (least("[head]\nsize = 3"), "there: unknown key head.size; allowed: kind, weight, bias"),
        (least(top="title = 3"), "there: title is 3; allowed: a text"),
        (least(top="is_verified = 1"), "there: is_verified is 1; allowed: true or false"),
        (least("[limits]\nmax_tokens = true"), "there: limits.max_tokens is True; allowed: a whole number"),
        (least("[limits]\nmax_tokens = 2.0"), "there: limits.max_tokens is 2.0; allowed: a whole number"),
        (least('[output]\nscale = "2"'), "there: output.scale is '2'; allowed: a number"),
        (least("[output]\nscale = true"), "there: output.scale is True; allowed: a number"),
        (least('[template]\ncut_after = "x"'), "there: template.cut_after is 'x'; allowed: a list"),
        (least('[template]\ncut_after = ["x", 3]'), "there: template.cut_after[1] is 3; allowed: a text"),
        (least("[files]\na = 3"), "there: files.a is 3; allowed: a text"),
        (least(top="notes = 3"), "there: notes is 3; allowed: a table"),
        (
            least('[readout]\nkind = "mean"'),
            "there: readout.kind is 'mean'; allowed: one of 'last_token', 'rightmost_not_id', ",
        ),
        (least("[readout]\nkind = 3"), "there: readout.kind is 3; allowed: one of 'last_token'"),
        (least('[[golden.pairs]]\nname = "x"'), "there: key golden.pairs[0].prompt is missing"),
        (
            least('[[golden.pairs]]\nname="x"\nresponse="y"\nscore=1\nprompt=[{role="user"}]'),
            "there: key golden.pairs[0].prompt[0].content is missing",
        ),
        (least('[backbone.more]\nfamily = "llama"'), "there: unknown key backbone.more"),
    ],
)
def test_a_text_that_is_no_manifest_is_refused_by_file_and_key(text: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text, "there")

    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('name = "a b"\n[backbone]\nfamily = "llama"', "name is 'a b'; allowed: letters, digits"),
        (least(top='dtype = "float16"'), "dtype is 'float16'; allowed: 'float32', 'bfloat16'"),
        (least().replace("llama", "gpt2"), "backbone.family is 'gpt2'; allowed: 'llama', 'mistral', "),
        (least('[head]\nkind = "tree"'), "head.kind is 'tree'; allowed: 'linear', 'mlp', 'vocabulary', 'gated'"),
        (least('[readout]\nkind = "rightmost_not_id"'), "readout.token_id is missing; readout.kind"),
        (least('[readout]\nkind = "before_first_id"'), "readout.token_id is missing; readout.kind"),
        (least("[readout]\ntoken_id = 3"), "readout.token_id is 3; readout.kind 'last_token' takes none"),
        (least("[readout]\nslot = 3"), "readout.slot is 3; readout.kind 'last_token' takes none"),
        (least('[readout]\nkind = "fixed_slot"\ntoken_id = 0'), "readout.slot is missing; readout.kind 'fixed_s"),
        (least('[readout]\nkind = "before_first_id"\ntoken_id = -1'), "readout.token_id is -1; allowed: 0 and"),
        (
            least('[readout]\nkind = "fixed_slot"\ntoken_id = 0\nslot = 2048'),
            "limits.max_tokens is None; readout.kind 'fixed_slot' allows 1 to readout.slot (2048)",
        ),
        (
            least('[readout]\nkind = "fixed_slot"\ntoken_id = 0\nslot = 8\n[limits]\nmax_tokens = 9'),
            "limits.max_tokens is 9; readout.kind 'fixed_slot' allows 1 to readout.slot (8)",
        ),
        (least('[template]\nuser_specials = "drop"'), "template.user_specials is 'drop'; allowed: 'escape', "),
        (least('[template]\nbos = "two"'), "template.bos is 'two'; allowed: 'one', 'none', 'double', 'strip'"),
        (least('[template]\neos = "strip"'), "template.eos is 'strip'; allowed: 'template', 'append', 'none'"),
        (least("[template]\npiecewise = true"), "template.piecewise is true; allowed: with a step_mark, and with"),
        (least("[readout]\nin_response = true"), "readout.in_response is true; readout.kind 'last_token' takes none"),
        (least("[head]\nspreads = true"), "head.transform, quantiles, bins or spreads are given; head.kind 'linear'"),
        (least("[head]\nspreads = true\nbins = 4\nkind='gated'"), "head.gate is missing; head.kind 'gated' needs it"),
        (least('[template]\ncut_after = [""]'), "template.cut_after holds an empty text"),
        (least("[template]\nmax_user_turns = 0"), "template.max_user_turns is 0; allowed: 1 and up"),
        (least("[limits]\nmax_tokens = 0"), "limits.max_tokens is 0; allowed: 1 and up"),
        (least('[limits]\ntruncation_side = "both"'), "limits.truncation_side is 'both'; allowed: 'none', "),
        (least('[output]\nkind = "softmax"'), "output.kind is 'softmax'; allowed: 'raw', 'affine'"),
        (least("[output]\nscale = 2"), "output.scale and shift are 2.0 and 0.0; output.kind 'raw' takes 1 and 0"),
        (least('[output]\nkind = "affine"\nscale = 0'), "output.scale is 0.0; allowed: finite and not 0"),
        (least('[output]\nkind = "affine"\nscale = nan'), "output.scale is nan; allowed: finite and not 0"),
        (least('[output]\nkind = "affine"\nshift = inf'), "output.shift is inf; allowed: finite"),
        (least("[golden.tolerance]\nint8 = 1"), "a key of golden.tolerance is 'int8'; allowed: 'float32', "),
        (least("[golden.tolerance]\nfloat32 = -1"), "golden.tolerance.float32 is -1.0; allowed: finite, 0 and"),
        (least('[files]\n"../x" = "' + "a" * 64 + '"'), "files has the name '../x'; allowed: paths inside"),
        (least('[files]\n"/x" = "' + "a" * 64 + '"'), "files has the name '/x'; allowed: paths inside"),
        (least('[files]\nx = "' + "A" * 64 + '"'), "files.x is 'AAAAA"),
        (least('[files]\nx = "abc"'), "files.x is 'abc'; allowed: a sha256 of 64 lower-case hex digits"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_by_key(more: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(more, "there")

    assert str(caught.value).startswith(f"there: {words}")


def golden(*pairs: GoldenPair, **tolerance: float) -> Manifest:
    return dataclasses.replace(MINIMAL, golden=Golden(pairs, tolerance))


PAIR = GoldenPair("one", (Turn("user", "Hi"),), "Hello", 1.5)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (golden(PAIR, bfloat16=0.1), "golden.tolerance.float32 is missing; golden pairs need one for the default"),
        (golden(PAIR, PAIR, float32=0.1), "golden.pairs name 'one' is given 2 times; allowed: once"),
        (golden(dataclasses.replace(PAIR, prompt=()), float32=0.1), "golden.pairs 'one' has an empty prompt"),
        (golden(dataclasses.replace(PAIR, score=float("nan")), float32=0.1), "golden.pairs 'one' has score nan"),
    ],
)
def test_golden_pairs_that_prove_nothing_are_refused(manifest: Manifest, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        check_manifest(manifest, "there")

    assert str(caught.value).startswith(f"there: {words}")


def test_a_message_names_every_complaint_at_once() -> None:
    manifest = dataclasses.replace(
        MINIMAL, dtype="int8", readout=Readout(ReadoutKind.BEFORE_FIRST_ID), output=Output("softmax")
    )

    with pytest.raises(ManifestError, match=r"dtype is 'int8'.*; readout\.token_id is missing.*; output\.kind is"):
        check_manifest(manifest, "there")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "\xe9"')

    for unreadable in (path, tmp_path / "none.toml"):
        with pytest.raises(ManifestError, match=rf"{unreadable.name}: cannot be read as UTF-8 text"):
            read_manifest(unreadable)


def test_every_field_that_may_be_none_is_none_by_default() -> None:
    """TOML cannot say None, so an absent key has to mean it."""
    hints = [(path, default) for path, _, default in fields_of(dataclasses.replace(FULL)) if default is None]

    assert {path for path, _ in hints} == {
        "backbone.model_type",
        "head.bias",
        "head.gate.temperature_key",
        "head.gate.softmax_key",
        "head.gate.scale",
        "head.transform",
        "head.quantiles_key",
        "head.norm",
        "readout.token_id",
        "readout.token_key",
        "readout.slot",
        "template.jinja",
        "template.max_user_turns",
        "template.step_mark",
        "limits.max_tokens",
        "origin.repository",
        "origin.revision",
        "origin.package_folder",
        "origin.tokenizer_repository",
    }
