"""Sources: a name, a folder or an id becomes files and a manifest, or an error that says what to do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from model_store.errors import ManifestError, SourceError, UnknownModelName, UnsupportedModel
from model_store.manifest import Manifest, Origin
from model_store.manifest_toml import render_manifest
from model_store.sources import ModelFiles, Sources
from tests.model_store.manifests import MINIMAL
from tests.model_store.tiny_checkpoints import write_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = '{"architectures": ["LlamaForSequenceClassification"], "model_type": "llama", "num_labels": 1}'


class FakeHub:
    """Repositories of empty files; hands out what matches and remembers what was asked."""

    def __init__(self, cache: Path, repositories: dict[str, dict[str, str]]) -> None:
        self._cache = cache
        self._repositories = repositories
        self.asked: list[tuple[str, str | None]] = []
        self.fetched: set[str] = set()

    def __call__(self, repository: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
        self.asked.append((repository, revision))
        folder = self._cache / repository / COMMIT
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self._repositories[repository].items():
            if any(fnmatch(name, pattern) for pattern in patterns):
                self.fetched.add(name)
                (folder / name).write_text(text)
        return folder


def no_hub(repository: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    raise AssertionError(f"nothing is to be fetched, but {repository} was")


WEIGHTS = {"config.json": CONFIG, "pytorch_model.bin": "weights"}
TOKENIZER = {"tokenizer.json": "{}", "tokenizer_config.json": '{"bos_token": "<s>"}'}


def write_model(folder: Path, *, has_tokenizer: bool = True) -> Path:
    folder.mkdir(parents=True)
    for name, text in WEIGHTS.items():
        (folder / name).write_text(text)
    if has_tokenizer:
        write_tokenizer(folder)
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Sources]:
    """Builds sources over a catalogue of the given manifests."""

    def make_sources(*entries: Manifest, download: Callable[..., Path] = no_hub) -> Sources:
        (tmp_path / "entries").mkdir()
        for entry in entries:
            (tmp_path / "entries" / f"{entry.name}.toml").write_text(render_manifest(entry))
        return Sources(tmp_path / "entries", tmp_path / "shipped", download)

    return make_sources


def entry(**origin: str) -> Manifest:
    return dataclasses.replace(MINIMAL, name="known", origin=Origin(**origin))


def test_a_shipped_entry_comes_from_the_package(make: Callable[..., Sources], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "shipped" / "box")

    files = make(entry(package_folder="box")).resolve("known")

    assert files == ModelFiles(folder, folder, entry(package_folder="box"))


def test_an_entry_can_be_read_from_local_folders(make: Callable[..., Sources], tmp_path: Path) -> None:
    weights = write_model(tmp_path / "w", has_tokenizer=False)
    tokenizer = write_model(tmp_path / "t")
    manifest = entry(repository="a/b", tokenizer_repository="c/d")

    files = make(manifest).resolve("known", weights=weights, tokenizer=tokenizer)

    assert files == ModelFiles(weights, tokenizer, manifest)


def test_an_entry_is_fetched_at_its_revision_with_the_tokenizer_of_another_repository(
    make: Callable[..., Sources], tmp_path: Path
) -> None:
    hub = FakeHub(tmp_path / "hub", {"a/b": WEIGHTS, "c/d": TOKENIZER | {"config.json": "of the base"}})
    manifest = entry(repository="a/b", revision="v1", tokenizer_repository="c/d")

    files = make(manifest, download=hub).resolve("known")

    assert (files.folder, files.tokenizer_folder) == (tmp_path / "hub/a/b" / COMMIT, tmp_path / "hub/c/d" / COMMIT)
    assert set(hub.asked) == {("a/b", "v1"), ("c/d", None)}
    assert not (files.tokenizer_folder / "config.json").exists()


def test_a_given_tokenizer_is_preferred_to_the_entrys(make: Callable[..., Sources], tmp_path: Path) -> None:
    weights = write_model(tmp_path / "w")
    tokenizer = write_model(tmp_path / "t")

    files = make(entry(tokenizer_repository="c/d")).resolve("known", weights=weights, tokenizer=tokenizer)

    assert files.tokenizer_folder == tokenizer


def test_a_tokenizer_beside_the_weights_is_preferred_to_another_repositorys(
    make: Callable[..., Sources], tmp_path: Path
) -> None:
    weights = write_model(tmp_path / "w")

    files = make(entry(tokenizer_repository="c/d")).resolve("known", weights=weights)

    assert files.tokenizer_folder == weights


def test_local_weights_may_take_the_entrys_tokenizer(make: Callable[..., Sources], tmp_path: Path) -> None:
    hub = FakeHub(tmp_path / "hub", {"c/d": TOKENIZER})
    weights = write_model(tmp_path / "w", has_tokenizer=False)

    files = make(entry(tokenizer_repository="c/d"), download=hub).resolve("known", weights=weights)

    assert files.tokenizer_folder == tmp_path / "hub/c/d" / COMMIT


def test_a_folder_with_a_manifest_uses_it(make: Callable[..., Sources], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "reward-server.toml").write_text(render_manifest(MINIMAL))

    assert make().resolve(str(folder)) == ModelFiles(folder, folder, MINIMAL)


def test_a_folder_with_a_manifest_may_name_remote_code(make: Callable[..., Sources], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}')
    with pytest.raises(UnsupportedModel, match="remote code"):
        make().resolve(str(folder))

    (folder / "reward-server.toml").write_text(render_manifest(MINIMAL))

    assert Sources(tmp_path / "entries", download=no_hub).resolve(str(folder)).manifest == MINIMAL


def test_a_plain_folder_is_guessed_and_named_after_itself(make: Callable[..., Sources], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "..my model (v2)")

    files = make().resolve(str(folder))

    assert files.folder == folder
    assert files.manifest.name == "my-model-v2-"
    assert files.manifest.guesses


def test_a_broken_manifest_in_a_folder_is_named(make: Callable[..., Sources], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "reward-server.toml").write_text("name = 3")

    with pytest.raises(ManifestError, match=r"reward-server\.toml: "):
        make().resolve(str(folder))


def test_a_hub_id_is_fetched_and_guessed(make: Callable[..., Sources], tmp_path: Path) -> None:
    hub = FakeHub(tmp_path / "hub", {"owner/model": WEIGHTS | TOKENIZER})

    files = make(download=hub).resolve("owner/model")

    assert files.manifest.name == "owner/model"
    assert files.manifest.origin == Origin(repository="owner/model", revision=COMMIT)


def test_a_manifest_in_a_repository_is_used(make: Callable[..., Sources], tmp_path: Path) -> None:
    published = {"reward-server.toml": render_manifest(MINIMAL)}
    hub = FakeHub(tmp_path / "hub", {"owner/model": WEIGHTS | TOKENIZER | published})

    assert make(download=hub).resolve("owner/model").manifest == MINIMAL


def test_code_is_never_fetched(make: Callable[..., Sources], tmp_path: Path) -> None:
    code = dict.fromkeys(("modeling_reward.py", "setup.sh", "tokenization.py", "handler.so"), "")
    hub = FakeHub(tmp_path / "hub", {"owner/model": WEIGHTS | TOKENIZER | code | {"README.md": ""}})

    make(download=hub).resolve("owner/model")

    assert hub.fetched == {*WEIGHTS, *TOKENIZER}


def test_state_dicts_are_not_fetched_where_there_are_safetensors(make: Callable[..., Sources], tmp_path: Path) -> None:
    table = '{"score.weight":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    header = chr(len(table)) + "\0" * 7 + table
    hub = FakeHub(tmp_path / "hub", {"owner/model": WEIGHTS | TOKENIZER | {"model.safetensors": header}})

    make(download=hub).resolve("owner/model")

    assert "model.safetensors" in hub.fetched
    assert "pytorch_model.bin" not in hub.fetched


@pytest.mark.parametrize("name", ["knwon", "./known", "known/", "a/b/c", "", " ", "owner/../x"])
def test_what_is_nothing_is_refused_with_the_names_that_exist(make: Callable[..., Sources], name: str) -> None:
    with pytest.raises(UnknownModelName, match="no catalogue entry, no folder here and no Hugging Face id"):
        make(entry()).resolve(name)


def test_a_close_name_is_suggested(make: Callable[..., Sources]) -> None:
    with pytest.raises(UnknownModelName, match=r"did you mean 'known'\? the catalogue has: known"):
        make(entry()).resolve("knwon")


@pytest.mark.parametrize("argument", ["weights", "tokenizer"])
def test_a_folder_that_is_not_there_is_named(make: Callable[..., Sources], tmp_path: Path, argument: str) -> None:
    with pytest.raises(SourceError, match="nowhere: no such folder"):
        make(entry()).resolve("known", **{argument: tmp_path / "nowhere"})


def test_weights_for_what_is_no_entry_are_refused(make: Callable[..., Sources], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="weights were given for 'owner/model', which is no catalogue entry"):
        make(entry()).resolve("owner/model", weights=tmp_path)


def test_an_entry_without_a_source_asks_for_weights(make: Callable[..., Sources]) -> None:
    with pytest.raises(SourceError, match="known has no source of its own; say where its files are: --weights"):
        make(entry()).resolve("known")


def test_a_folder_without_a_config_is_refused(make: Callable[..., Sources], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no config\.json"):
        make().resolve(str(tmp_path))


def test_a_folder_without_a_tokenizer_asks_for_one(make: Callable[..., Sources], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", has_tokenizer=False)

    with pytest.raises(SourceError, match=r"no tokenizer .*; say where it is: --tokenizer FOLDER"):
        make().resolve(str(folder))


def test_a_hub_out_of_reach_says_how_to_do_without(make: Callable[..., Sources], tmp_path: Path) -> None:
    """Through the real client, which tests/conftest.py sets offline; no request leaves this machine."""
    sources = dataclasses.replace(Sources(), entries=tmp_path)

    with pytest.raises(SourceError, match=re.escape("put the files into a folder and name that folder instead")):
        sources.resolve("reward-server-tests/no-such-model")
