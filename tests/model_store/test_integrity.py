"""Integrity: the wrong byte is noticed and named, and digests follow what decides a score."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store.errors import IntegrityError, WeightsError
from model_store.integrity import (
    IRRELEVANT_FIELDS,
    check_files,
    digest_folder,
    digest_hashes,
    hash_file,
    hash_folder,
    semantic_digest,
)
from model_store.manifest import Manifest, ReadoutKind
from tests.model_store.manifests import FULL, MINIMAL

CONTENTS = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"tokens",
    "chat_template.jinja": b"template",
}


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "model", CONTENTS)


def pinned(folder: Path) -> Manifest:
    return dataclasses.replace(MINIMAL, files=hash_folder(folder))


def test_a_file_hash_is_sha256(folder: Path) -> None:
    assert hash_file(folder / "config.json") == hashlib.sha256(b"{}").hexdigest()


def test_exactly_the_files_that_decide_a_score_are_hashed(folder: Path) -> None:
    write(folder, {"README.md": b"", "training_args.bin": b"", "optimizer.pt": b""})

    assert list(hash_folder(folder)) == sorted(CONTENTS)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_the_number_of_threads_changes_nothing(folder: Path, num_threads: int) -> None:
    assert hash_folder(folder, num_threads=num_threads) == {
        name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()
    }


def test_shards_and_their_index_are_hashed(tmp_path: Path) -> None:
    index = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    shards = {"model-1.safetensors": b"1", "model-2.safetensors": b"2", "model.safetensors.index.json": index}
    write(tmp_path, {"config.json": b"{}", **shards})

    assert list(hash_folder(tmp_path)) == ["config.json", *shards]


def test_files_as_pinned_pass(folder: Path) -> None:
    check_files(folder, pinned(folder))


def test_a_manifest_without_pins_passes(folder: Path) -> None:
    check_files(folder, MINIMAL)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_changed_file_is_named_with_both_hashes(folder: Path, name: str) -> None:
    manifest = pinned(folder)
    (folder / name).write_bytes(CONTENTS[name] + b"!")
    actual = hash_file(folder / name)

    with pytest.raises(IntegrityError, match=f"{name}: sha256 is {actual}, expected {manifest.files[name]}"):
        check_files(folder, manifest)


def test_a_missing_file_is_named(folder: Path) -> None:
    manifest = pinned(folder)
    (folder / "tokenizer.json").unlink()

    with pytest.raises(IntegrityError, match=r"tokenizer\.json: sha256 is of no file, it is missing, expected "):
        check_files(folder, manifest)


def test_a_tokenizer_file_that_nobody_pinned_is_named(folder: Path) -> None:
    manifest = pinned(folder)
    write(folder, {"added_tokens.json": b"{}"})

    with pytest.raises(IntegrityError, match=r"added_tokens\.json: would be read, but is not pinned"):
        check_files(folder, manifest)


def test_a_pinned_file_of_no_consequence_is_checked_too(folder: Path) -> None:
    write(folder, {"README.md": b"read me"})
    files = hash_folder(folder) | {"README.md": "0" * 64}

    with pytest.raises(IntegrityError, match=r"README\.md: sha256 is [0-9a-f]{64}, expected 0{64}"):
        check_files(folder, dataclasses.replace(MINIMAL, files=files))


def test_hashes_taken_before_are_used(folder: Path) -> None:
    hashes = hash_folder(folder)
    manifest = pinned(folder)
    (folder / "tokenizer.json").write_bytes(b"changed since")

    check_files(folder, manifest, hashes=hashes)


def test_a_folder_without_weights_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights"):
        digest_folder(tmp_path)


def test_the_digest_does_not_depend_on_the_order_or_place_of_files(folder: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", dict(reversed(CONTENTS.items())))
    write(elsewhere, {"README.md": b"more"})

    assert digest_folder(elsewhere) == digest_folder(folder)


def test_the_digest_does_not_depend_on_where_the_tokenizer_lies(folder: Path, tmp_path: Path) -> None:
    beside = ("tokenizer.json", "chat_template.jinja")
    model = write(tmp_path / "a", {name: data for name, data in CONTENTS.items() if name not in beside})
    tokenizer = write(tmp_path / "b", {name: CONTENTS[name] for name in beside})

    assert digest_folder(model, tokenizer) == digest_folder(folder)


@pytest.mark.parametrize("name", CONTENTS)
def test_the_digest_follows_every_file(folder: Path, name: str) -> None:
    before = digest_folder(folder)
    (folder / name).write_bytes(b"other")

    assert digest_folder(folder) != before


def test_the_digest_follows_names_not_only_contents(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"model.safetensors": b"w", "tokenizer.json": b"x"})
    other = write(tmp_path / "other", {"model.safetensors": b"w", "vocab.json": b"x"})

    assert list(hash_folder(one).values()) == list(hash_folder(other).values())
    assert digest_folder(one) != digest_folder(other)


def test_the_digest_of_hashes_does_not_depend_on_their_order() -> None:
    hashes = {"a": "1" * 64, "b": "2" * 64}

    assert digest_hashes(dict(reversed(hashes.items()))) == digest_hashes(hashes)
    assert digest_hashes({"a": "2" * 64, "b": "1" * 64}) != digest_hashes(hashes)


def variants(record: Any) -> Iterator[tuple[str, Any]]:
    """The record with each of its leaf fields changed in turn, and that field's path."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            for path, changed in variants(value):
                yield f"{field.name}.{path}", dataclasses.replace(record, **{field.name: changed})
        else:
            yield field.name, dataclasses.replace(record, **{field.name: other_than(value)})


def other_than(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, ReadoutKind):
        return ReadoutKind.LAST_TOKEN
    if isinstance(value, dict | tuple):
        return type(value)() if value else type(value)((1,)) if isinstance(value, tuple) else {"new": "1"}
    if value is None:
        return 1
    return value + "x" if isinstance(value, str) else not value if isinstance(value, bool) else value * 2 + 1


@pytest.mark.parametrize(("path", "changed"), list(variants(FULL)), ids=[path for path, _ in variants(FULL)])
def test_the_semantic_digest_follows_every_field_but_words(path: str, changed: Manifest) -> None:
    assert changed != FULL

    is_same = semantic_digest(changed) == semantic_digest(FULL)

    assert is_same == (path.split(".")[0] in IRRELEVANT_FIELDS)


def test_irrelevant_fields_are_fields() -> None:
    assert {field.name for field in dataclasses.fields(Manifest)} > IRRELEVANT_FIELDS


def test_the_semantic_digest_is_the_same_in_every_process() -> None:
    assert semantic_digest(MINIMAL) == semantic_digest(dataclasses.replace(MINIMAL, title="other"))
    assert len(semantic_digest(MINIMAL)) == 64
