"""`models add`: a folder of its own, with the same scores, every file pinned; and what is refused on the way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from model_store import catalogue
from model_store.add import add_model
from model_store.convert import INDEX, convert_weights
from model_store.errors import IntegrityError, SourceError, WeightsMismatch
from model_store.guess import MANIFEST_FILE
from model_store.integrity import check_files
from model_store.loader import load_model
from model_store.manifest_toml import read_manifest
from model_store.sources import ModelFiles, resolve
from model_store.weights_reader import open_weights
from service.cli import cli
from tests.catalogue import starling_reference
from tests.model_store.tiny_checkpoints import guessed, save, write_tokenizer

STARLING = "starling-rm-7b-alpha"


@pytest.fixture
def starling(tmp_path: Path) -> ModelFiles:
    folder = tmp_path / "published"
    starling_reference.write_7b(folder)
    write_tokenizer(folder)
    return ModelFiles(folder, folder, catalogue.find(STARLING))


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    with open_weights(folder) as weights:
        return {name: weights.read(name).clone() for name in weights.facts()}


def test_a_pickled_checkpoint_becomes_safetensors_without_copies_and_left_overs(
    starling: ModelFiles, tmp_path: Path
) -> None:
    target = tmp_path / "added"
    add_model(starling, target)

    before, after = tensors_of(starling.folder), tensors_of(target)
    assert not list(target.glob("*.bin"))
    assert set(after) == {name for name in before if name.startswith("transformer.") or name == "v_head.weight"}
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


def test_what_was_added_loads_to_the_same_bits_and_is_pinned(starling: ModelFiles, tmp_path: Path) -> None:
    target = tmp_path / "added"
    written = add_model(starling, target)
    found = resolve(str(target))

    assert found.manifest == written == read_manifest(target / MANIFEST_FILE)
    assert dataclasses.replace(written, files={}) == starling.manifest
    check_files(target, found.manifest)
    one, other = (load_model(files, dtype="float32", device="cpu") for files in (starling, found))
    ids = torch.arange(40)[None]
    assert torch.equal(one.backbone(ids).last_hidden_state, other.backbone(ids).last_hidden_state)
    assert torch.equal(one.head["v_head.weight"], other.head["v_head.weight"])
    (target / "tokenizer.json").write_text('{"changed": 1}')
    with pytest.raises(IntegrityError, match=r"tokenizer\.json"):
        check_files(target, found.manifest)


def test_shards_hold_no_more_than_they_may(starling: ModelFiles, tmp_path: Path) -> None:
    convert_weights(starling, tmp_path, shard_bytes=20_000)

    index = json.loads((tmp_path / INDEX).read_text())
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    assert sorted(set(index["weight_map"].values())) == [shard.name for shard in shards]
    held = {name: tensor.nbytes for name, tensor in tensors_of(tmp_path).items()}
    assert sum(held.values()) == index["metadata"]["total_size"]
    for shard in shards:
        inside = [held[name] for name, file in index["weight_map"].items() if file == shard.name]
        assert sum(inside) <= 20_000 or len(inside) == 1


def test_a_tensor_that_does_not_fit_stops_it_and_leaves_no_checkpoint(starling: ModelFiles, tmp_path: Path) -> None:
    state = torch.load(starling.folder / "pytorch_model.bin")
    torch.save(
        state | {"model.model.norm.weight": state["model.model.norm.weight"] + 1}, starling.folder / "pytorch_model.bin"
    )
    target = tmp_path / "added"

    with pytest.raises(WeightsMismatch, match=r"model\.model\.norm\.weight"):
        add_model(starling, target)

    assert not (target / INDEX).exists()
    assert not (target / MANIFEST_FILE).exists()


def test_safetensors_are_taken_as_they_are(tmp_path: Path) -> None:
    source = tmp_path / "source"
    save(source)
    add_model(guessed(source), tmp_path / "added")

    assert (tmp_path / "added/model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


def test_a_folder_that_holds_something_is_left_alone(starling: ModelFiles, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")

    with pytest.raises(SourceError, match="is not an empty folder"):
        add_model(starling, tmp_path / "full")


def test_the_command_adds_a_folder_and_shows_it_in_words(starling: ModelFiles, tmp_path: Path) -> None:
    target = tmp_path / "added"
    added = CliRunner().invoke(cli, ["models", "add", STARLING, str(target), "--weights", str(starling.folder)])
    shown = CliRunner().invoke(cli, ["models", "show", str(target)])

    assert (added.exit_code, shown.exit_code) == (0, 0), added.output + shown.output
    assert f"reward-server serve {target}" in added.output
    assert "the last of 2048 slots padded with token 0" in shown.output
    assert "model-00001-of-00001.safetensors" in shown.output


@pytest.mark.parametrize("name", catalogue.names())
def test_every_entry_is_shown_in_words_and_as_the_file_it_is(name: str) -> None:
    words = CliRunner().invoke(cli, ["models", "show", name])
    as_toml = CliRunner().invoke(cli, ["models", "show", name, "--toml"])

    assert (words.exit_code, as_toml.exit_code) == (0, 0), words.output + as_toml.output
    head = catalogue.find(name).head
    assert all(tensor in words.output for tensor in [layer.weight for layer in head.layers] or [head.weight])
    assert f'name = "{name}"' in as_toml.output
