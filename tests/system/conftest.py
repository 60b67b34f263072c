"""What the system tests share: a checkpoint on disk, and a real server process that serves it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.checkpoints import make_checkpoint
from tests.end_to_end.process import running


def skip_without(*commands: str) -> None:
    """Skips the test, naming what is missing and how to get it."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if missing := [command for command in commands if shutil.which(command, path=path) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}; deploy/install-system-packages.sh installs it as root")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small complete checkpoint, in a folder of its own."""
    return make_checkpoint(tmp_path_factory.mktemp("models") / "small-llama")


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """A server process on a port the system chose; yields its address once it can score."""
    with TemporaryDirectory() as folder, running(Path(folder) / "log", *arguments) as server:
        yield server.url
        server.stop()
