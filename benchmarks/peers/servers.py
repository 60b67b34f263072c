"""Starts each server on the same checkpoint, waits until it answers, and ends it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_TIMEOUT_S = 300.0

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Server:
    """A running peer: how to ask it, and how long it took to answer at first."""

    name: str
    url: str
    asks: str
    ready_s: float


@contextmanager
def reward_server(folder: Path, log: Path, num_threads: int) -> Iterator[Server]:
    """This project, with its defaults."""
    words = [sys.executable, "-c", "from service.cli import main; main()", "serve", str(folder)]
    words += ["--threads", str(num_threads), "--dtype", "float32"]
    with _started("reward-server", words, log, "/readyz", "/classify", {}) as server:
        yield server


@contextmanager
def vllm(python: Path, folder: Path, log: Path, num_threads: int, block_size: int) -> Iterator[Server]:
    """The CPU build of vLLM, prefix cache on."""
    words = [str(python), "-m", "vllm.entrypoints.cli.main", "serve", str(folder), "--runner", "pooling"]
    words += ["--convert", "classify", "--dtype", "float32", "--max-model-len", "4096"]
    words += ["--block-size", str(block_size), "--served-model-name", folder.name]
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{num_threads - 1}",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "1",
    }
    with _started(f"vllm (block {block_size})", words, log, "/health", "/classify", environment) as server:
        yield server


@contextmanager
def openrlhf(folder: Path, log: Path, num_threads: int) -> Iterator[Server]:
    """OpenRLHF's algorithm (see `openrlhf_server`)."""
    words = [sys.executable, "-m", "benchmarks.peers.openrlhf_server", str(folder)]
    with _started("openrlhf serve_rm", words, log, "/health", "/get_reward", {}, [str(num_threads)]) as server:
        yield server


@contextmanager
def _started(
    name: str,
    words: Sequence[str],
    log: Path,
    probe: str,
    asks: str,
    environment: Mapping[str, str],
    rest: Sequence[str] = (),
) -> Iterator[Server]:
    port = _free_port()
    given = [*words, str(port), *rest] if rest else [*words, "--port", str(port)]
    started_s = time.monotonic()
    path = os.pathsep.join((str(ROOT), str(ROOT / "reward_client/src")))
    with log.open("w") as output:
        process = subprocess.Popen(
            given, env={**os.environ, "PYTHONPATH": path, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url + probe, log)
        yield Server(name, url, asks, time.monotonic() - started_s)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            if reply.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{url} never answered 200; the end of its log:\n{log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
