"""What the system tests share: a checkpoint on disk, and a real server process that serves it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.checkpoints import make_checkpoint

SERVE = (sys.executable, "-c", "from service.cli import main; main()", "serve")
"""The command line without its console script, so that the checkout's own code runs."""

STOP_TIMEOUT_S = 30


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
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REWARD_SERVER_")}
    command = [*SERVE, *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            ready = next((line for line in server.stdout if line.startswith("reward-server ready on ")), None)
            assert ready is not None, "the server ended before it was ready; its words are above"
            yield ready.split()[3]
        finally:
            server.terminate()
            try:
                server.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                server.kill()
