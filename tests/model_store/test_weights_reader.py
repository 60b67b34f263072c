"""Layouts of weight files: each gives the same model, and none is ever run as code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model_store.errors import WeightsError
from model_store.loader import load_model
from model_store.weights_layout import find_layout, tensor_names
from model_store.weights_reader import open_weights
from tests.model_store.tiny_checkpoints import guessed, save


@pytest.fixture
def tensors(tmp_path: Path) -> dict[str, Tensor]:
    """A tiny model in `tmp_path`, config and all, whose one weight file is taken away."""
    save(tmp_path, "llama")
    stored = {name: tensor.clone() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    (tmp_path / "model.safetensors").unlink()
    return stored


def read_all(folder: Path) -> dict[str, Tensor]:
    with open_weights(folder) as weights:
        return {name: weights.read(name).clone() for name in weights.facts()}


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def write_shards(folder: Path, tensors: dict[str, Tensor], suffix: str) -> Path:
    """Writes two shards and their index, whose path is returned."""
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names = sorted(tensors)
    shards = {f"{stem}-0000{part + 1}-of-00002.{suffix}": names[part::2] for part in range(2)}
    for file, held in shards.items():
        part = {name: tensors[name] for name in held}
        save_file(part, folder / file) if suffix == "safetensors" else torch.save(part, folder / file)
    index = folder / f"{stem}.{suffix}.index.json"
    weight_map = {name: file for file, held in shards.items() for name in held}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def write_one(folder: Path, tensors: dict[str, Tensor], name: str) -> None:
    save_file(tensors, folder / name) if name.endswith(".safetensors") else torch.save(tensors, folder / name)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "reward.safetensors", "reward_model.bin", "step_1400.pt"]
)
def test_a_single_file_is_read_whole(tmp_path: Path, tensors: dict[str, Tensor], name: str) -> None:
    write_one(tmp_path, tensors, name)

    assert_equal(read_all(tmp_path), tensors)
    load_model(guessed(tmp_path), dtype="float32", device="cpu")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_as_one(tmp_path: Path, tensors: dict[str, Tensor], suffix: str) -> None:
    write_shards(tmp_path, tensors, suffix)

    assert_equal(read_all(tmp_path), tensors)
    load_model(guessed(tmp_path), dtype="float32", device="cpu")


def test_shards_written_by_transformers_are_read_as_one(tmp_path: Path) -> None:
    model = save(tmp_path, "llama", max_shard_size="20KB")

    assert len(find_layout(tmp_path).files) > 1
    assert_equal(read_all(tmp_path), model.state_dict())


def test_a_state_dict_from_before_pytorch_1_6_is_read(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)

    assert_equal(read_all(tmp_path), tensors)


def test_two_names_for_one_storage_are_two_tensors(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    shared = tensors | {"alias": tensors["score.weight"]}
    torch.save(shared, tmp_path / "pytorch_model.bin")

    assert_equal(read_all(tmp_path), shared)


def test_safetensors_are_preferred_to_a_state_dict(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_one(tmp_path, tensors, "model.safetensors")
    write_one(tmp_path, {"other": torch.ones(1)}, "pytorch_model.bin")

    assert_equal(read_all(tmp_path), tensors)


def test_what_trainers_leave_behind_is_not_taken_for_weights(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_one(tmp_path, tensors, "reward.pt")
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin"):
        (tmp_path / name).write_bytes(b"")

    assert_equal(read_all(tmp_path), tensors)


class Payload:
    """Pickles to a call: unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_holds_code_is_refused_and_never_run(tmp_path: Path, is_zip: bool) -> None:
    proof = tmp_path / "proof"
    state = {"score.weight": torch.ones(1), "payload": Payload(proof)}
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)

    with pytest.raises(
        WeightsError, match=r"pytorch_model\.bin: refused, its pickle is damaged or holds more than tensors"
    ):
        read_all(tmp_path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"module": {"score.weight": torch.ones(1)}}, "holds 'module': dict; allowed: tensors by name only"),
        ({"step": 3, "score.weight": torch.ones(1)}, "holds 'step': int"),
        ([torch.ones(1)], "holds a list; allowed: a state dict"),
    ],
    ids=["nested", "extra", "list"],
)
def test_a_file_that_is_not_a_plain_state_dict_is_refused(tmp_path: Path, state: object, words: str) -> None:
    torch.save(state, tmp_path / "pytorch_model.bin")

    with pytest.raises(WeightsError, match=words):
        read_all(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("num_bytes", [0, 5, 600])
def test_a_truncated_file_is_refused(tmp_path: Path, tensors: dict[str, Tensor], name: str, num_bytes: int) -> None:
    write_one(tmp_path, tensors, name)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:num_bytes])

    with pytest.raises(WeightsError, match=rf"{name}: (damaged|not a whole|refused)"):
        read_all(tmp_path)


def test_a_shard_that_is_not_there_is_named(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_shards(tmp_path, tensors, "safetensors")
    (tmp_path / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(WeightsError, match=r"names shards that are not there: model-00002-of-00002\.safetensors"):
        read_all(tmp_path)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_an_index_that_differs_from_its_shards_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], suffix: str
) -> None:
    index = write_shards(tmp_path, tensors, suffix)
    table = json.loads(index.read_text())
    del table["weight_map"]["score.weight"]
    index.write_text(json.dumps(table))

    with pytest.raises(WeightsError, match=r"differ in 1 tensors, such as score\.weight"):
        read_all(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_shards(tmp_path, tensors, "bin")
    torch.save(tensors, tmp_path / "pytorch_model-00002-of-00002.bin")

    with pytest.raises(WeightsError, match="stands in two files"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    "index",
    ["no json", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../secret.bin"}}', '{"weight_map": {"a": 1}}'],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / "pytorch_model.bin.index.json").write_text(index)

    with pytest.raises(WeightsError, match="weight"):
        find_layout(tmp_path)


def test_a_folder_without_weights_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights; looked for model\.safetensors, "):
        find_layout(tmp_path)


def test_two_files_that_might_be_the_weights_are_refused(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"a": torch.ones(1)}, tmp_path / name)

    with pytest.raises(WeightsError, match=r"unclear which is the weights: a\.safetensors, b\.safetensors"):
        find_layout(tmp_path)


def test_names_of_tensors_are_known_without_reading_them(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_one(tmp_path, tensors, "model.safetensors")

    assert tensor_names(find_layout(tmp_path)) == tensors.keys()


def test_facts_are_those_of_the_tensors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")

    with open_weights(tmp_path) as weights:
        facts = weights.facts()["a"]

    assert (facts.shape, facts.dtype) == ((2, 3), "bfloat16")
