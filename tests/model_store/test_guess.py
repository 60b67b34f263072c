"""Guesses: what the files say is taken, what they do not say is named, what cannot be guessed is refused."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from model_store.errors import SourceError, UnsupportedModel, WeightsError
from model_store.guess import OLD_ROTARY_BUFFERS, default_dtype, guess_manifest
from model_store.manifest import Backbone, Head, Manifest, Readout, ReadoutKind
from model_store.manifest_toml import parse_manifest, render_manifest
from tests.model_store.manifests import MINIMAL
from tests.model_store.tiny_checkpoints import write_tokenizer

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForSequenceClassification"],
    "model_type": "llama",
    "id2label": {"0": "LABEL_0"},
    "pad_token_id": 3,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}


def write_header(path: Path, *names: str) -> None:
    """A safetensors file of empty tensors."""
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({"__metadata__": {"format": "pt"}, **dict.fromkeys(names, tensor)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def guess(folder: Path, tokenizer: dict[str, Any] | None = None, **fields: Any) -> Manifest:
    """Guesses a folder whose config differs from `CONFIG` by some fields (None leaves one out)."""
    config = {name: value for name, value in (CONFIG | fields).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    if not any(folder.glob("*model.*")):
        write_header(folder / "model.safetensors", "model.norm.weight", "score.weight")
    write_tokenizer(folder, **(tokenizer or {}))
    return guess_manifest(folder, name="tiny")


def about(manifest: Manifest, subject: str) -> str:
    """What a guess says of a subject."""
    (words,) = (words for words in manifest.guesses if words.startswith(f"{subject}: "))
    return words


def test_a_plain_folder_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    manifest = guess(tmp_path)

    assert manifest.name == "tiny"
    assert manifest.backbone == Backbone(family="llama", prefix="model.", ignored=(OLD_ROTARY_BUFFERS,))
    assert manifest.head == Head(weight="score.weight", bias=None)
    assert manifest.readout == Readout(ReadoutKind.RIGHTMOST_NOT_ID, token_id=3)
    assert manifest.template.user_specials == "escape"
    assert manifest.template.cut_after == ()
    assert not manifest.is_verified


def test_a_guess_is_a_valid_manifest(tmp_path: Path) -> None:
    manifest = guess(tmp_path)

    assert parse_manifest(render_manifest(manifest), "guess") == manifest


@pytest.mark.parametrize("family", ["gemma3_text", "llama", "mistral", "qwen2", "qwen3"])
def test_the_family_is_the_configs(tmp_path: Path, family: str) -> None:
    assert guess(tmp_path, model_type=family).backbone.family == family


@pytest.mark.parametrize("pad_id", [None, -1])
def test_without_a_pad_id_the_last_token_is_read(tmp_path: Path, pad_id: int | None) -> None:
    manifest = guess(tmp_path, pad_token_id=pad_id)

    assert manifest.readout == Readout(ReadoutKind.LAST_TOKEN)
    words = f"readout: the last token (sure: config.json's pad_token_id is {pad_id}, so that nothing is padding)"
    assert about(manifest, "readout") == words


@pytest.mark.parametrize("eos_id", [3, [2, 3]])
def test_a_pad_id_that_is_also_the_end_of_text_is_warned_of(tmp_path: Path, eos_id: int | list[int]) -> None:
    manifest = guess(tmp_path, eos_token_id=eos_id)

    assert manifest.readout.token_id == 3
    assert "(unsure: it is also eos_token_id: a closing EOS is not read" in about(manifest, "readout")


@pytest.mark.parametrize("layout", ["single", "sharded"])
def test_a_bias_in_the_files_is_used(tmp_path: Path, layout: str) -> None:
    names = ("model.norm.weight", "score.weight", "score.bias")
    if layout == "single":
        write_header(tmp_path / "model.safetensors", *names)
    else:
        write_header(tmp_path / "model-1.safetensors", *names)
        index = {"weight_map": dict.fromkeys(names, "model-1.safetensors")}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    assert guess(tmp_path).head.bias == "score.bias"


def test_a_lone_state_dict_is_not_opened_to_guess(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")

    manifest = guess(tmp_path)

    assert manifest.head.bias is None
    assert "checked when loading" in about(manifest, "head")


@pytest.mark.parametrize(
    ("field", "stored", "dtype"),
    [
        ("torch_dtype", "bfloat16", "bfloat16"),
        ("dtype", "bfloat16", "bfloat16"),
        ("torch_dtype", "float32", "float32"),
        ("torch_dtype", "float16", "float32"),
        ("torch_dtype", None, "float32"),
    ],
)
def test_the_dtype_is_the_stored_one_or_one_that_holds_its_every_value(
    tmp_path: Path, field: str, stored: str | None, dtype: str
) -> None:
    fields: dict[str, Any] = {"torch_dtype": None, field: stored}
    manifest = guess(tmp_path, **fields)

    assert manifest.dtype == dtype
    assert f"the config says {stored}" in about(manifest, "dtype")


@pytest.mark.parametrize(
    ("is_guess", "device", "dtype"),
    [(True, "cpu", "float32"), (True, "cuda:0", "bfloat16"), (False, "cpu", "bfloat16"), (False, "cuda:0", "bfloat16")],
)
def test_a_guessed_model_is_float32_on_a_cpu(is_guess: bool, device: str, dtype: str) -> None:
    guesses = ("a guess",) if is_guess else ()
    manifest = Manifest("m", MINIMAL.backbone, dtype="bfloat16", guesses=guesses)

    assert default_dtype(manifest, device=device) == dtype


@pytest.mark.parametrize(
    ("tokenizer", "bos"),
    [
        ({}, "one"),
        ({"bos_token": None}, "none"),
        ({"add_bos_token": False}, "one"),
        ({"add_bos_token": False, "chat_template": "no such token"}, "none"),
        ({"add_bos_token": False, "chat_template": "<s>[INST]"}, "one"),
        ({"bos_token": {"content": "<s>"}, "add_bos_token": False, "chat_template": "<s>[INST]"}, "one"),
        ({"add_bos_token": True, "chat_template": "no such token"}, "one"),
    ],
)
def test_bos_is_one_unless_nothing_would_write_it(tmp_path: Path, tokenizer: dict[str, Any], bos: str) -> None:
    assert guess(tmp_path, tokenizer).template.bos == bos


@pytest.mark.parametrize("place", ["config", "file", "nowhere"])
def test_a_missing_chat_template_is_said(tmp_path: Path, place: str) -> None:
    if place == "file":
        (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    manifest = guess(tmp_path, {"chat_template": "{{ messages }}" if place == "config" else None})

    assert ("none found" in about(manifest, "chat template")) == (place == "nowhere")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"auto_map": {"AutoModel": "x.Y"}}, "names remote code .* never run.*write a reward-server.toml"),
        ({"model_type": "phi3"}, "model_type is 'phi3'; allowed: llama, mistral, qwen2, qwen3"),
        ({"model_type": "gemma3"}, "model_type is 'gemma3'; allowed: gemma3_text; this one also reads images"),
        ({"model_type": None}, "model_type is None; allowed: llama"),
        ({"architectures": ["LlamaForCausalLM"]}, "architectures names LlamaForCausalLM; only …ForSequenceClass"),
        ({"architectures": None}, "architectures names nothing"),
        ({"id2label": {"0": "a", "1": "b"}}, "num_labels is 2"),
        ({"id2label": None}, r"num_labels is 2 \(transformers reads 2 where config.json names none\); allowed: 1"),
        ({"id2label": None, "num_labels": 3}, "num_labels is 3"),
    ],
)
def test_what_cannot_be_guessed_is_refused_with_the_reason(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        guess(tmp_path, **fields)


def test_num_labels_alone_is_enough(tmp_path: Path) -> None:
    assert guess(tmp_path, id2label=None, num_labels=1).head == Head()


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no config\.json; allowed: a Hugging Face model folder"):
        guess_manifest(tmp_path, name="tiny")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(SourceError, match=r"config\.json: (not JSON|holds list)"):
        guess_manifest(tmp_path, name="tiny")


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"no"])
def test_a_damaged_weight_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)

    with pytest.raises(WeightsError, match=r"model\.safetensors: not a"):
        guess(tmp_path)


def test_the_first_line_says_how_sure_all_of_it_is(tmp_path: Path) -> None:
    manifest = guess(tmp_path, tokenizer={"add_bos_token": False})

    assert manifest.guesses[0] == (
        "in all: unsure: limits; likely: chat template, BOS, score, user text; sure: head, readout, dtype"
    )


SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "the usual": ({}, {}, "readout", "3 (sure: what transformers' sequence classification does since 4.50)"),
    "saved before 4.50": (
        {"transformers_version": "4.44.2"},
        {},
        "readout",
        "(sure: transformers 4.44.2, which saved it, read before the first one: the same token, as no text holds",
    ),
    "the template writes the pad": (
        {},
        {"pad_token": "<p>", "chat_template": "{{ bos_token }}{{ messages }}<p>"},
        "readout",
        "(unsure: the chat template writes '<p>', and transformers before 4.50 read before the first one)",
    ),
    "the tokenizer pads with another": (
        {},
        {"pad_token": "<p>", "added_tokens_decoder": {"7": {"content": "<p>"}}},
        "readout",
        "(unsure: one pair alone is read there, but the tokenizer pads with 7",
    ),
    "one label by id2label": ({}, {}, "head", "(sure: config.json names one label (id2label), and the files hold"),
    "one label by number": (
        {"id2label": None, "num_labels": 1},
        {},
        "head",
        "(sure: config.json names one label (num_labels), and the files hold",
    ),
    "several templates": (
        {},
        {"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]},
        "chat template",
        "the one called default (unsure: there are default, tool_use)",
    ),
    "one template in a list": (
        {},
        {"chat_template": [{"name": "default", "template": "a"}]},
        "chat template",
        "the tokenizer's own (likely: no file says what the authors trained with)",
    ),
    "no template called default": (
        {},
        {"chat_template": [{"name": "rag", "template": "a"}, {"name": "tool_use", "template": "b"}]},
        "chat template",
        "none found (unsure: conversations cannot be rendered",
    ),
    "both may write BOS": (
        {},
        {},
        "BOS",
        "exactly one (unsure: the chat template writes one and the tokenizer may add",
    ),
    "the template alone writes BOS": (
        {},
        {"add_bos_token": False},
        "BOS",
        "exactly one (likely: the chat template writes it, the tokenizer does not)",
    ),
    "the tokenizer alone adds BOS": (
        {},
        {"chat_template": "{{ messages }}"},
        "BOS",
        "exactly one (likely: the tokenizer adds it, the chat template does not)",
    ),
    "the tokenizer has a limit of its own": (
        {"max_position_embeddings": 4096},
        {"model_max_length": 2048},
        "limits",
        "pairs of up to max_position_embeddings (4096), longer ones refused (unsure: no file says what the authors do; "
        "the tokenizer's own limit is 2048)",
    ),
    "a cross-encoder's activation": (
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}},
        {},
        "score",
        "(unsure: config.json names torch.nn.modules.activation.Sigmoid, which is not applied)",
    ),
    "a cross-encoder without one": (
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
        {},
        "score",
        "(likely: usual for one label)",
    ),
    "no dtype": ({"torch_dtype": None}, {}, "dtype", "float32 (likely: the config says None"),
}
"""Fields of the two configurations, and what is said of one subject."""


@pytest.mark.parametrize(("fields", "tokenizer", "subject", "words"), SHAPES.values(), ids=SHAPES)
def test_a_guess_says_how_sure_it_is_and_what_it_rests_on(
    tmp_path: Path, fields: dict[str, Any], tokenizer: dict[str, Any], subject: str, words: str
) -> None:
    assert words in about(guess(tmp_path, tokenizer, **fields), subject)


def test_a_template_file_beside_another_template_is_named(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")

    assert "chat_template.jinja (unsure: tokenizer_config.json holds another" in about(guess(tmp_path), "chat template")


def test_a_bias_of_the_head_is_a_doubt(tmp_path: Path) -> None:
    write_header(tmp_path / "model.safetensors", "model.norm.weight", "score.weight", "score.bias")

    assert "(unsure: config.json names one label (id2label); the files hold score.bias" in about(
        guess(tmp_path), "head"
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("model.norm.weight", "v_head.weight"), "besides the backbone they hold: v_head.weight; write a reward-serv"),
        (("model.norm.weight",), "besides the backbone they hold: nothing; write a reward-server.toml"),
    ],
)
def test_another_head_is_refused_by_its_name(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    write_header(tmp_path / "model.safetensors", *names)

    with pytest.raises(UnsupportedModel, match=re.escape(words)):
        guess(tmp_path)
