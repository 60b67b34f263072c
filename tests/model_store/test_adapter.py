"""A LoRA adapter in PEFT's layout is merged at load; everything it could do besides is refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from model_store.adapter import read_adapter
from model_store.add import add_model
from model_store.errors import SourceError, UnsupportedModel, WeightsMismatch
from model_store.integrity import hash_folder
from model_store.loader import LoadedModel, load_model
from model_store.sources import ModelFiles, Sources, resolve
from model_store.words import describe_adapter
from tests.model_store.tiny_checkpoints import random_ids, write_tokenizer

RANK = 3
ADAPTED = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 96, "num_attention_heads": 4}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A causal model, as a reward adapter's base usually is."""
    torch.manual_seed(3)
    folder = tmp_path / "base"
    model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE, initializer_range=0.3))
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def adapter_tensors() -> dict[str, Tensor]:
    sizes = {"self_attn.q_proj": (32, 32), "self_attn.v_proj": (32, 32), "mlp.down_proj": (32, 48)}
    tensors = {"base_model.model.score.weight": torch.randn(1, 32)}
    for layer in range(2):
        for module in ADAPTED:
            outputs, inputs = sizes[module]
            name = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(RANK, inputs) / 4
            tensors[f"{name}.lora_B.weight"] = torch.randn(outputs, RANK) / 4
    return tensors


def write_adapter(folder: Path, base: Path, tensors: dict[str, Tensor], **fields: Any) -> Path:
    """An adapter's folder as PEFT's `save_pretrained` writes it."""
    folder.mkdir(exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "bias": "none",
        "target_modules": [module.rpartition(".")[2] for module in ADAPTED],
        "modules_to_save": ["classifier", "score"],
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config | fields))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def by_hand(base: Path, tensors: dict[str, Tensor], scale: float, ids: Tensor) -> Tensor:
    """Scores of every position, with the adapter beside the weights instead of merged into them."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    for name, module in model.named_modules():
        a, b = (tensors.get(f"base_model.model.{name}.lora_{half}.weight") for half in "AB")
        if a is not None and b is not None:
            module.register_forward_hook(lambda _, inputs, out, a=a, b=b: out + scale * (inputs[0] @ a.T @ b.T))
    with torch.inference_mode():
        hidden = model.model(input_ids=ids).last_hidden_state
    scores: Tensor = hidden @ tensors["base_model.model.score.weight"][0]
    return scores


def load(files: ModelFiles) -> LoadedModel:
    return load_model(files, dtype="float32", device="cpu")


@torch.inference_mode()
def scores_of(model: LoadedModel, ids: Tensor) -> Tensor:
    hidden: Tensor = model.backbone(input_ids=ids).last_hidden_state
    return hidden @ model.head["score.weight"][0]


@pytest.mark.parametrize(
    ("fields", "scale"),
    [({}, 8 / RANK), ({"use_rslora": True}, 8 / math.sqrt(RANK)), ({"alpha_pattern": {".*proj": 6}}, 2.0)],
    ids=["plain", "rank stabilized", "alpha by pattern"],
)
def test_a_merged_adapter_scores_as_one_beside_the_weights(
    tmp_path: Path, base: Path, fields: Any, scale: float
) -> None:
    tensors = adapter_tensors()
    files = resolve(str(write_adapter(tmp_path / "adapter", base, tensors, **fields)))
    ids = random_ids(2, 24)

    merged, expected = scores_of(load(files), ids), by_hand(base, tensors, scale, ids)

    plain = by_hand(base, {name: tensor for name, tensor in tensors.items() if "lora" not in name}, scale, ids)
    assert (expected - plain).abs().max() > 0.1
    torch.testing.assert_close(merged, expected, atol=2e-5, rtol=1e-5)  # another order of fp32 sums


def test_the_guess_says_what_was_made_of_the_base(tmp_path: Path, base: Path) -> None:
    files = resolve(str(write_adapter(tmp_path / "adapter", base, adapter_tensors())))

    assert files.folder == base
    assert files.manifest.name == "adapter"
    assert files.manifest.backbone.ignored[-1] == "lm_head.weight"
    assert load(files).head["score.weight"].shape == (1, 32)
    assert describe_adapter(files.adapter).endswith(f"merged into {base} at load")


@pytest.mark.parametrize("harm", ["delete", "rename", "reshape", "add"])
def test_any_tensor_of_an_adapter_that_does_not_fit_is_refused_by_name(tmp_path: Path, base: Path, harm: str) -> None:
    tensors = adapter_tensors()
    for name in tensors:
        damaged = dict(tensors)
        if harm in ("rename", "add"):
            damaged[name.replace("base_model.model.", "base_model.model.new.")] = tensors[name].clone()
        if harm in ("delete", "rename"):
            del damaged[name]
        if harm == "reshape":
            damaged[name] = tensors[name][..., :-1].contiguous()
        files = resolve(str(write_adapter(tmp_path / "adapter", base, damaged)))
        with pytest.raises(WeightsMismatch) as caught:
            load(files)
        module = (
            name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")[0] or "score.weight"
        )
        assert module in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"task_type": "CAUSAL_LM"}, "task_type is 'CAUSAL_LM'"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True"),
        ({"r": 0}, "r is 0"),
    ],
)
def test_more_than_plain_lora_is_refused_by_name(tmp_path: Path, base: Path, fields: Any, words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        resolve(str(write_adapter(tmp_path / "adapter", base, adapter_tensors(), **fields)))


def test_a_base_that_is_nowhere_is_named_and_can_be_given(tmp_path: Path, base: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", tmp_path / "gone", adapter_tensors())

    with pytest.raises(SourceError, match=r"gone.*--weights FOLDER"):
        resolve(str(folder))
    assert resolve(str(folder), weights=base).folder == base


def test_the_adapters_files_count_in_the_digest(tmp_path: Path, base: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", base, adapter_tensors())
    hashes = hash_folder(base, base, read_adapter(folder))

    assert {"adapter_config.json", "adapter_model.safetensors", "model.safetensors"} <= hashes.keys()


def test_added_it_is_one_model_with_the_same_scores(tmp_path: Path, base: Path) -> None:
    files = resolve(str(write_adapter(tmp_path / "adapter", base, adapter_tensors())))
    add_model(files, tmp_path / "merged")
    ids = random_ids(2, 24)

    assert torch.equal(scores_of(load(resolve(str(tmp_path / "merged"))), ids), scores_of(load(files), ids))


class FolderHub:
    """Repositories that are folders; hands them out whole and remembers what was asked for."""

    def __init__(self, repositories: dict[str, Path]) -> None:
        self._repositories = repositories
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, repository: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
        assert "adapter_config.json" in patterns
        self.asked.append((repository, revision))
        if repository not in self._repositories:
            raise SourceError(f"cannot fetch {repository}")
        return self._repositories[repository]


def test_adapter_and_base_may_both_be_hub_ids_each_at_its_revision(tmp_path: Path, base: Path) -> None:
    folder = write_adapter(
        tmp_path / "adapter", base, adapter_tensors(), base_model_name_or_path="owner/base", revision="v2"
    )
    hub = FolderHub({"owner/adapter": folder, "owner/base": base})
    ids = random_ids(2, 24)

    files = Sources(download=hub).resolve("owner/adapter@v1")

    assert hub.asked == [("owner/adapter", "v1"), ("owner/base", "v2")]
    assert (files.manifest.name, files.manifest.origin.repository) == ("owner/adapter", "owner/adapter")
    assert files.manifest.origin.revision == "v1"
    local = resolve(str(folder), weights=base)
    assert torch.equal(scores_of(load(files), ids), scores_of(load(local), ids))


def test_a_base_that_cannot_be_fetched_is_named_with_the_adapter(tmp_path: Path, base: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", base, adapter_tensors(), base_model_name_or_path="owner/base")

    with pytest.raises(SourceError, match="is an adapter and changes the base model owner/base: cannot fetch"):
        Sources(download=FolderHub({"owner/adapter": folder})).resolve("owner/adapter")
