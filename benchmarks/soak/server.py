"""A real server in processes of its own, and what can be seen of it from outside: memory, descriptors, counters."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.soak.http import Broken, Reply, ask

READY_TRIES = 1200
"""Tenths of a second; loading takes some seconds, on a machine that is busy with other things many."""

SERVE = ("-c", "from service.cli import main; main()", "serve")
FAULTY = ("-m", "benchmarks.soak.faulty")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def worker(self) -> int:
        """The process id of the worker; 0 while there is none."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and fields[0] != "Z":
                return int(stat.parent.name)
        return 0

    @property
    def resident_mib(self) -> float:
        """Resident memory of the worker."""
        pages = int(Path(f"/proc/{self.worker}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def num_descriptors(self) -> int:
        """Open descriptors of the worker."""
        return len(os.listdir(f"/proc/{self.worker}/fd"))

    def kill_worker(self) -> None:
        """As the kernel's out-of-memory killer does."""
        os.kill(self.worker, signal.SIGKILL)

    async def ask(self, method: str, path: str, body: object = None, timeout_s: float | None = 120) -> Reply:
        """One request."""
        return await ask(self.port, method, path, body, timeout_s=timeout_s)

    async def ask_lines(self, path: str, body: object) -> list[dict[str, Any]]:
        """One request for a stream of lines, read to its end."""
        reply = await ask(self.port, "POST", path, body, timeout_s=120, headers=("Accept: application/x-ndjson",))
        return [json.loads(line) for line in reply.body.splitlines()]

    async def wait_ready(self) -> None:
        """Returns once it can score."""
        for _ in range(READY_TRIES):
            if self.process.poll() is not None:
                break
            try:
                if (await self.ask("GET", "/readyz", timeout_s=5)).status == 200:
                    return
            except Broken:
                pass
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the server is not ready:\n{self.log.read_text()[-3000:]}")

    async def metrics(self) -> dict[str, float]:
        """All samples of /metrics by name and labels, as they are written."""
        text = (await self.ask("GET", "/metrics")).body.decode()
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


@asynccontextmanager
async def serving(*flags: str, is_faulty: bool = False, slow_s: float = 0.0) -> AsyncIterator[Server]:
    """A server with the demo model and these flags, ready, told to stop at the end; it must then end with status 0."""
    port = _free_port()
    words = [sys.executable, *(FAULTY if is_faulty or slow_s else SERVE), "--port", str(port), *flags]
    environment = {**os.environ, "SOAK_SLOW_S": str(slow_s), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(words, env=environment, stdout=output, stderr=subprocess.STDOUT)
        server = Server(process, port, log)
        try:
            await server.wait_ready()
            yield server
            process.terminate()
            status = await asyncio.to_thread(process.wait, 120)
            if status != 0:
                raise RuntimeError(f"told to stop, the server ended with {status}:\n{log.read_text()[-3000:]}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


async def calm_scores(server: Server, prompts: Sequence[tuple[str, str]]) -> tuple[list[float], list[str]]:
    """The scores of pairs on a server at rest, and their rendered texts."""
    pairs = [{"prompt": prompt, "response": response} for prompt, response in prompts]
    scored = (await server.ask("POST", "/v1/score", {"pairs": pairs})).json()["results"]
    shown = (await server.ask("POST", "/v1/tokenize", {"pairs": pairs})).json()["results"]
    return [result["score"] for result in scored], [result["rendered"] for result in shown]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
