"""Loading: the same numbers as transformers, or no model at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from model_store.errors import UnsupportedModel, WeightsMismatch
from model_store.loader import LoadedModel, load_model
from model_store.manifest import Backbone, Head
from model_store.sources import ModelFiles
from tests.model_store.tiny_checkpoints import VARIANTS, build, guessed, random_ids, save

TENSORS = tuple(build("llama-gqa-bias", num_hidden_layers=1).state_dict())
"""Names of every tensor of the model whose files are spoilt below."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama-gqa-bias")
    save(path, "llama-gqa-bias", num_hidden_layers=1)
    return path


@pytest.fixture
def spoilt(folder: Path, tmp_path: Path) -> ModelFiles:
    """A copy whose weights a test may rewrite."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return guessed(tmp_path)


def load(files: ModelFiles, dtype: str = "float32") -> LoadedModel:
    return load_model(files, dtype=dtype, device="cpu")


def hidden_states(loaded: LoadedModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = loaded.backbone(input_ids=ids, use_cache=False).last_hidden_state
    return output


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_loaded_backbone_gives_the_hidden_states_of_transformers_own_loader(
    variant: str, dtype: str, tmp_path: Path
) -> None:
    save(tmp_path, variant)
    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=dtype, attn_implementation="sdpa")
    ids = random_ids(1, 40)

    loaded = load(guessed(tmp_path), dtype)

    with torch.no_grad():
        expected = reference.model(input_ids=ids, use_cache=False).last_hidden_state
    assert torch.equal(hidden_states(loaded, ids), expected)
    assert torch.equal(loaded.head["score.weight"].to(reference.dtype), reference.score.weight)


@pytest.mark.parametrize("variant", ["llama", "mistral-window", "qwen2", "qwen3"])
def test_the_head_on_the_last_token_gives_the_logits_of_transformers(variant: str, tmp_path: Path) -> None:
    save(tmp_path, variant)
    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype="float32")
    ids = random_ids(1, 40)

    loaded = load(guessed(tmp_path))

    with torch.no_grad():
        expected = reference(input_ids=ids).logits
    # As transformers does: the head on all rows, then the last; one row alone is another kernel.
    scores = torch.nn.functional.linear(
        hidden_states(loaded, ids), loaded.head["score.weight"], loaded.head.get("score.bias")
    )
    assert torch.equal(scores[:, -1], expected)


def test_buffers_that_are_in_no_file_are_those_of_transformers(tmp_path: Path) -> None:
    save(tmp_path, "llama-rope-llama3")
    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype="bfloat16")

    loaded = load(guessed(tmp_path), "bfloat16")

    expected = dict(reference.model.named_buffers())
    actual = dict(loaded.backbone.named_buffers())
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert all(buffer.dtype == torch.float32 for buffer in actual.values())


def test_a_loaded_model_is_in_evaluation_mode_without_gradients_or_memory_to_come(folder: Path) -> None:
    loaded = load(guessed(folder), "bfloat16")

    assert not loaded.backbone.training
    assert not any(parameter.requires_grad for parameter in loaded.backbone.parameters())
    assert not any(tensor.is_meta for tensor in loaded.backbone.state_dict().values())
    assert {parameter.dtype for parameter in loaded.backbone.parameters()} == {torch.bfloat16}


def test_the_head_is_fp32_in_every_dtype(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")["score.weight"]

    loaded = load(guessed(folder), "bfloat16")

    assert loaded.head["score.weight"].dtype == torch.float32
    assert torch.equal(loaded.head["score.weight"], stored)
    assert "score.bias" not in loaded.head


def test_a_head_with_a_bias_keeps_it(spoilt: ModelFiles) -> None:
    rewrite(spoilt, {"score.bias": torch.tensor([0.25])})

    loaded = load(guessed(spoilt.folder))

    assert loaded.head["score.bias"].tolist() == [0.25]


def test_the_attention_is_the_one_asked_for(folder: Path) -> None:
    loaded = load_model(guessed(folder), dtype="float32", device="cpu", attention="eager")

    assert loaded.config._attn_implementation == "eager"


def test_replacing_the_files_afterwards_changes_nothing(spoilt: ModelFiles) -> None:
    ids = random_ids(1, 12)
    loaded = load(spoilt)
    before = hidden_states(loaded, ids)

    path = spoilt.folder / "model.safetensors"
    path.write_bytes(bytes(path.stat().st_size))

    assert torch.equal(hidden_states(loaded, ids), before)


def rewrite(files: ModelFiles, changes: dict[str, Tensor | None]) -> None:
    """Saves the weights again with some tensors replaced, added or (None) left out."""
    path = files.folder / "model.safetensors"
    tensors = load_file(path) | changes
    save_file({name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}, path)


def test_the_spoilt_model_has_every_kind_of_tensor() -> None:
    kinds = {name.removeprefix("model.layers.0.") for name in TENSORS}

    assert {"score.weight", "model.embed_tokens.weight", "self_attn.q_proj.bias", "mlp.down_proj.bias"} <= kinds


@pytest.mark.parametrize("name", TENSORS)
def test_a_missing_tensor_stops_the_load_by_its_name(spoilt: ModelFiles, name: str) -> None:
    rewrite(spoilt, {name: None})

    with pytest.raises(WeightsMismatch) as caught:
        load(spoilt)

    assert (list(caught.value.missing), caught.value.left_over, caught.value.unfit) == ([name], {}, {})
    assert name in str(caught.value)


@pytest.mark.parametrize("name", TENSORS)
def test_a_renamed_tensor_stops_the_load_by_both_names(spoilt: ModelFiles, name: str) -> None:
    rewrite(spoilt, {name: None, f"old_{name}": load_file(spoilt.folder / "model.safetensors")[name]})

    with pytest.raises(WeightsMismatch) as caught:
        load(spoilt)

    assert (list(caught.value.missing), list(caught.value.left_over)) == ([name], [f"old_{name}"])
    assert f"old_{name}" in str(caught.value)


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_of_another_shape_stops_the_load_by_name_and_shapes(spoilt: ModelFiles, name: str) -> None:
    tensor = load_file(spoilt.folder / "model.safetensors")[name]
    rewrite(spoilt, {name: torch.cat([tensor, tensor])})
    longer = (2 * tensor.shape[0], *tensor.shape[1:])

    with pytest.raises(WeightsMismatch) as caught:
        load(spoilt)

    assert list(caught.value.unfit) == [name]
    assert f"{name} (its shape is {longer}, expected {tuple(tensor.shape)})" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight", "score.bias", "v_head.weight", "model.layers"]
)
def test_a_tensor_too_many_stops_the_load_by_its_name(spoilt: ModelFiles, name: str) -> None:
    rewrite(spoilt, {name: torch.ones(1)})

    with pytest.raises(WeightsMismatch) as caught:
        load(spoilt)

    assert (list(caught.value.left_over), caught.value.missing, caught.value.unfit) == ([name], {}, {})


def test_a_transposed_tensor_stops_the_load(spoilt: ModelFiles) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(spoilt, {name: load_file(spoilt.folder / "model.safetensors")[name].T.contiguous()})

    with pytest.raises(WeightsMismatch, match=r"\(32, 48\), expected \(48, 32\)"):
        load(spoilt)


def test_a_quantized_tensor_stops_the_load(spoilt: ModelFiles) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(spoilt, {name: torch.ones(48, 32, dtype=torch.int8)})

    with pytest.raises(WeightsMismatch, match="its dtype is I8"):
        load(spoilt)


def test_a_head_with_two_outputs_stops_the_load(spoilt: ModelFiles) -> None:
    rewrite(spoilt, {"score.weight": torch.ones(2, 32)})

    with pytest.raises(WeightsMismatch, match=r"score.weight \(its shape is \(2, 32\), expected \(1, 32\)\)"):
        load(spoilt)


def test_old_rotary_buffers_are_passed_over_by_the_guess_and_only_where_they_are_listed(
    spoilt: ModelFiles,
) -> None:
    expected = hidden_states(load(spoilt), random_ids(1, 12))
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(spoilt, {name: torch.ones(8)})
    unlisted = dataclasses.replace(spoilt.manifest, backbone=Backbone(family="llama"))

    assert torch.equal(hidden_states(load(spoilt), random_ids(1, 12)), expected)
    with pytest.raises(WeightsMismatch, match="inv_freq"):
        load(dataclasses.replace(spoilt, manifest=unlisted))


def with_aliases(files: ModelFiles, backbone: Backbone) -> ModelFiles:
    manifest = dataclasses.replace(files.manifest, backbone=backbone, head=Head(weight="v_head.weight"))
    return dataclasses.replace(files, manifest=manifest)


def rename_as_starling(files: ModelFiles) -> dict[str, Tensor]:
    """The layout of a class that registers its backbone twice and keeps the language model's head."""
    path = files.folder / "model.safetensors"
    stored = load_file(path)
    own = {name.removeprefix("model."): tensor for name, tensor in stored.items() if name != "score.weight"}
    tensors = {f"{prefix}{name}": own[name].clone() for prefix in ("transformer.", "model.model.") for name in own}
    tensors |= {"model.lm_head.weight": torch.ones(96, 32), "v_head.weight": stored["score.weight"]}
    save_file(tensors, path)
    return tensors


STARLING = Backbone(family="llama", prefix="transformer.", aliases=("model.model.",), ignored=("model.lm_head.weight",))


def test_a_backbone_stored_under_two_prefixes_loads_where_the_manifest_says_so(spoilt: ModelFiles) -> None:
    expected = hidden_states(load(spoilt), random_ids(1, 12))
    rename_as_starling(spoilt)

    assert torch.equal(hidden_states(load(with_aliases(spoilt, STARLING)), random_ids(1, 12)), expected)
    with pytest.raises(WeightsMismatch, match="left over"):
        load(with_aliases(spoilt, dataclasses.replace(STARLING, aliases=())))


def test_unequal_copies_of_a_tensor_stop_the_load(spoilt: ModelFiles) -> None:
    tensors = rename_as_starling(spoilt)
    tensors["model.model.norm.weight"][3] += 1
    save_file(tensors, spoilt.folder / "model.safetensors")

    with pytest.raises(WeightsMismatch, match=r"model.model.norm.weight \(differs from its copy transformer.norm"):
        load(with_aliases(spoilt, STARLING))


def test_a_config_of_another_family_than_the_manifest_is_refused(folder: Path) -> None:
    files = guessed(folder)
    manifest = dataclasses.replace(files.manifest, backbone=Backbone(family="mistral"))

    with pytest.raises(UnsupportedModel, match="model_type is 'llama'; manifest 'tiny' says 'mistral'"):
        load(dataclasses.replace(files, manifest=manifest))


def test_a_config_that_would_be_silently_ignored_is_refused(spoilt: ModelFiles) -> None:
    edit_config(spoilt, attn_logit_softcapping=50.0)

    with pytest.raises(UnsupportedModel, match=r"attn_logit_softcapping is 50\.0"):
        load(spoilt)


def test_a_config_that_transformers_refuses_is_refused(spoilt: ModelFiles) -> None:
    edit_config(spoilt, num_attention_heads=5)

    with pytest.raises(UnsupportedModel, match=r"config\.json: transformers refuses it: [^.]*not a multiple"):
        load(spoilt)


def edit_config(files: ModelFiles, **fields: object) -> None:
    path = files.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_an_unknown_dtype_is_refused(folder: Path) -> None:
    with pytest.raises(UnsupportedModel, match="dtype is 'int8'; allowed: float32, bfloat16, float16"):
        load(guessed(folder), "int8")
