"""A real server in a process of its own, on a free port, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from service.cli import main; main()")
READY_TIMEOUT_S = 120.0


def environment() -> dict[str, str]:
    """Ours first on the path, so that a checkout's own packages are the ones that run; no hub, no stray settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REWARD_SERVER_")}
    clean.pop("MKL_CBWR", None)
    path = os.pathsep.join((str(ROOT), str(ROOT / "reward_client/src")))
    return clean | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def run_command(*arguments: str | Path, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Runs `reward-server ARGUMENTS` to its end."""
    words = [*COMMAND, *map(str, arguments)]
    return subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False)


@dataclass
class ServerProcess:
    """A running server: where it answers, and what it has printed."""

    process: subprocess.Popen[str]
    log: Path
    port: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, Any]:
        """Status and parsed body of a GET."""
        return _answer(urllib.request.Request(self.url + path), self.tls)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Status and parsed body of a POST of JSON."""
        headers = {"Content-Type": "application/json"}
        return _answer(urllib.request.Request(self.url + path, json.dumps(body).encode(), headers), self.tls)

    def wait_ready(self) -> None:
        """Returns when `/readyz` says 200."""
        end_s = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < end_s and self.process.poll() is None:
            self.port = self.port or _printed_port(self.log.read_text())
            if self.port and self.get("/readyz")[0] == 200:
                return
            time.sleep(0.05)
        raise AssertionError(f"the server did not become ready:\n{self.log.read_text()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(30)


@contextmanager
def running(
    log: Path, *arguments: str | Path, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[ServerProcess]:
    """A server started with `reward-server serve ARGUMENTS`, ready, ended at the end; `tls` to speak HTTPS with it."""
    words = [*COMMAND, "serve", *map(str, arguments), "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(words, env=environment(), stdout=output, stderr=subprocess.STDOUT, text=True)
    server = ServerProcess(process, log, port, tls)
    try:
        server.wait_ready()
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)


def _printed_port(printed: str) -> int:
    _, found, rest = printed.partition("://127.0.0.1:")
    return int(rest.partition(",")[0]) if found and "," in rest else 0


def _answer(request: urllib.request.Request, tls: ssl.SSLContext | None) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=60, context=tls) as reply:
            return reply.status, _parsed(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, _parsed(error.read())
    except OSError:
        return 0, None


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()
