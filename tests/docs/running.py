"""A real server over a small checkpoint, on a real socket, and processes that talk to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from service.api.app import create_app
from service.runtime import build_runtime
from service.settings import Settings

ROOT = Path(__file__).parents[2]
STARTUP_TIMEOUT_S = 120.0
"""Of a checkpoint that takes a second when nothing else runs."""


@contextmanager
def serving(checkpoint: Path) -> Iterator[str]:
    """Serves a checkpoint folder from a thread of this process; gives the address once it is ready."""
    settings = Settings(models=(str(checkpoint),), device="cpu", threads=2, max_frame_tokens=256)
    app = create_app(settings, build_runtime)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            _wait_until_ready(url)
            yield url
        finally:
            server.should_exit = True
            thread.join()


def run(*command: str | Path) -> str:
    """Runs a command from the repository's root, with its packages on Python's path; returns what it printed.

    Raises:
        AssertionError: If it failed, with everything it wrote.
    """
    folders = (ROOT, ROOT / "reward_client" / "src")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def run_python(code: str) -> str:
    """Runs Python code in a process of its own."""
    return run(sys.executable, "-c", code)


def _wait_until_ready(url: str) -> None:
    pause = threading.Event()
    with httpx.Client(base_url=url) as client:
        for _ in range(int(STARTUP_TIMEOUT_S / 0.05)):
            reason = client.get("/readyz").json()["reason"]
            if not reason.startswith("starting"):
                break
            pause.wait(0.05)
    assert reason == "", reason
