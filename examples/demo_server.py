"""A reward-server with the demo model for the length of an example, unless one runs already."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reward_client import Client

_START_TIMEOUT_S = 180.0
_COMMAND = ("-c", "from service.cli import main; main()", "serve", "demo", "--port", "0")


@contextmanager
def demo_server(maybe_url: str | None, python: str = sys.executable) -> Iterator[str]:
    """Gives the address of a server that is ready: the one named, or a new one that ends with the block.

    Args:
        maybe_url: A server that runs already.
        python: An interpreter that has the server's dependencies; the example's own may not.
    """
    if maybe_url is not None:
        with Client(maybe_url) as client:
            client.wait_ready()
        yield maybe_url
        return
    with _ended_in_order(), tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen((python, *_COMMAND), stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ))
        try:
            url = f"http://127.0.0.1:{_port(process, Path(log.name))}"
            with Client(url) as client:
                client.wait_ready(_START_TIMEOUT_S)
            yield url
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Has SIGTERM unwind this program, as Ctrl-C does: by default it would end at once and leave the server behind."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Returns the port that the server says it has taken."""
    end_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end_s and process.poll() is None:
        found = re.search(r"listening on http://[^\s:]+:(\d+)", log.read_text(encoding="utf-8"))
        if found and int(found[1]):
            return int(found[1])
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start:\n{log.read_text(encoding='utf-8')}")
