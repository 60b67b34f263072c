"""The tiny tokenizer folders, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tokenization import tiny_tokenizers as tiny


@pytest.fixture(scope="session")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_chatml(tmp_path_factory.mktemp("tokenizers") / "chatml")


@pytest.fixture(scope="session")
def llama2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_llama2(tmp_path_factory.mktemp("tokenizers") / "llama2")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_qwen(tmp_path_factory.mktemp("tokenizers") / "qwen")


@pytest.fixture(scope="session", params=["chatml", "llama2", "qwen"])
def any_folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder
