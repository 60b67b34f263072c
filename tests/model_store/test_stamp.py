"""Stamping: the hashes are the files', and every other line stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_store.catalogue import ENTRIES
from model_store.errors import ManifestError
from model_store.integrity import check_files, hash_folder
from model_store.manifest_toml import read_manifest
from model_store.stamp import stamp_files

HEAD = '# why\nname = "least" # what\n\n[backbone]\nfamily = "llama"\n'
OLD = f'[files]\n"model.safetensors" = "{"0" * 64}"\n"gone.json" = "{"1" * 64}"\n'
TAIL = "\n# about limits\n[limits]\nmax_tokens = 12\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [HEAD, HEAD + OLD, HEAD + "\n" + OLD + TAIL, HEAD + TAIL, 'title = """\n[files]\nx\n"""\n' + HEAD + OLD],
    ids=["none", "last", "amid", "none-amid", "text-like-it"],
)
def test_a_stamped_manifest_pins_the_files_and_keeps_the_rest(folder: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "least.toml"
    path.write_text(text)

    stamped = stamp_files(path, folder)

    assert read_manifest(path) == stamped
    assert stamped.files == hash_folder(folder)
    check_files(folder, stamped)
    kept = [line for line in text.replace(OLD, "").splitlines() if line not in ("", "[files]")]
    pins = [f'"{name}" = "{digest}"' for name, digest in stamped.files.items()]
    lines = [line for line in path.read_text().splitlines() if line not in ("", "[files]")]
    assert [line for line in lines if line not in pins] == kept


def test_stamping_twice_is_stamping_once(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "least.toml"
    path.write_text(HEAD + TAIL)
    stamp_files(path, folder)
    once = path.read_text()

    stamp_files(path, folder)

    assert path.read_text() == once


def test_a_comment_in_front_of_the_next_table_survives(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "least.toml"
    path.write_text(HEAD + OLD + TAIL)

    stamp_files(path, folder)

    assert "# about limits\n[limits]" in path.read_text()


def test_pins_in_another_style_are_refused_and_left_alone(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "least.toml"
    path.write_text('files = { "config.json" = "' + "0" * 64 + '" }\n' + HEAD)
    before = path.read_text()

    with pytest.raises(ManifestError, match=r"its pins are not a \[files\] table"):
        stamp_files(path, folder)
    assert path.read_text() == before


def test_the_shipped_demo_entry_can_be_stamped(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "demo.toml"
    path.write_text((ENTRIES / "demo.toml").read_text())

    assert stamp_files(path, folder).files == hash_folder(folder)
