"""The catalogue: every shipped entry is valid, and wrong names get help."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_store import catalogue
from model_store.errors import ManifestError, UnknownModelName
from model_store.manifest_toml import render_manifest
from tests.model_store.manifests import MINIMAL


@pytest.fixture
def entries(tmp_path: Path) -> Path:
    (tmp_path / "least.toml").write_text(render_manifest(MINIMAL))
    (tmp_path / "broken.toml").write_text("name =")
    (tmp_path / "notes.md").write_text("no entry")
    return tmp_path


def test_names_are_those_of_the_files_sorted(entries: Path) -> None:
    assert catalogue.names(entries) == ("broken", "least")


def test_an_entry_is_found_by_name_though_another_is_broken(entries: Path) -> None:
    assert catalogue.find("least", entries) == MINIMAL


def test_a_broken_entry_is_named(entries: Path) -> None:
    with pytest.raises(ManifestError, match=r"broken\.toml: not valid TOML"):
        catalogue.find("broken", entries)


@pytest.mark.parametrize("name", ["leest", "least-7b"])
def test_a_wrong_name_gets_close_ones_and_the_list(entries: Path, name: str) -> None:
    with pytest.raises(UnknownModelName, match=r"did you mean 'least'\? the catalogue has: broken, least"):
        catalogue.find(name, entries)


@pytest.mark.parametrize("name", ["../least", "", "least.toml"])
def test_a_name_is_never_a_path(entries: Path, name: str) -> None:
    (entries / "sub").mkdir()

    with pytest.raises(UnknownModelName):
        catalogue.find(name, entries / "sub")


def test_an_entry_that_calls_itself_otherwise_is_refused(entries: Path) -> None:
    (entries / "other.toml").write_text(render_manifest(MINIMAL))

    with pytest.raises(ManifestError, match="name is 'least'; allowed: the file's own name, 'other'"):
        catalogue.find("other", entries)


@pytest.mark.parametrize("name", catalogue.names())
def test_every_shipped_entry_is_valid(name: str) -> None:
    assert catalogue.find(name).name == name


def test_the_demo_is_in_the_catalogue() -> None:
    demo = catalogue.find("demo")

    assert demo.origin.package_folder == "demo"
    assert demo.template.cut_after == ("<|im_start|>assistant\n",)
    assert demo.limits.max_tokens == 4096
