"""Starts servers on one checkpoint, waits until each answers, holds them still while another is measured, ends them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.numeric_mode import let_threads_sleep

READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
WATCH_S = 2.0

ROOT = Path(__file__).parents[2]


OURS_ONLY = ("MKL_CBWR", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What this project, or who develops it, sets for itself: no peer shall be bound by it."""


def fair_environment() -> None:
    """Takes that out of this process, and so of the servers it starts; call it before torch is imported.

    That threads sleep while they wait stays for all: spinning, as is the default, a library that scores one pair at a
    time fell to a tenth of its speed when something else wanted a core.
    """
    for name in OURS_ONLY:
        os.environ.pop(name, None)
    let_threads_sleep(os.environ)


@dataclass(frozen=True, slots=True)
class Launch:
    """How one server is started; `{port}` in its words becomes a free port."""

    name: str
    words: Sequence[str]
    probe: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: a process group of its own."""

    name: str
    url: str
    ready_s: float
    process: subprocess.Popen[bytes]

    def hold(self) -> None:
        """Stops it in its tracks, so that it burns nothing: some poll for work in a loop."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it run again."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def idle_cpu_share(self) -> float:
        """Cores that it uses while nobody asks it anything."""
        before = self.cpu_s()
        time.sleep(WATCH_S)
        return (self.cpu_s() - before) / WATCH_S

    def peak_mib(self) -> float:
        """Peak resident memory of its processes, summed: what they share counts for each."""
        return sum(map(_peak_kib, self._members())) / 1024

    def worker_peak_bytes(self) -> int:
        """Peak resident memory of the one process of the group that has most."""
        return max(map(_peak_kib, self._members())) * 1024

    def cpu_s(self) -> float:
        """Processor seconds its processes have used so far."""
        return sum(map(cpu_s_of, self._members()))

    def _members(self) -> list[Path]:
        """Folders in /proc of every process of the group."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(_fields(stat)[2]) == self.process.pid:
                    found.append(stat.parent)
        return found


@contextmanager
def running(launch: Launch, log: Path) -> Iterator[Server]:
    """A server that answers, ended at the end; what it prints goes to `log`.

    Raises:
        RuntimeError: If it does not answer in time; the message holds the end of its log.
    """
    port = _free_port()
    given = [word.replace("{port}", str(port)) for word in launch.words]
    path = os.pathsep.join((str(ROOT), str(ROOT / "reward_client/src")))
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", **launch.environment}
    started_s = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            given, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url + launch.probe, log)
        yield Server(launch.name, url, time.monotonic() - started_s, process)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the group's leader, then ends whoever is left of the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            if reply.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{url} never answered 200; the end of its log:\n{log.read_text()[-3000:]}")


def _fields(stat: Path) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, group, …"""
    return stat.read_text().rpartition(")")[2].split()


def cpu_s_of(folder: Path) -> float:
    """Processor seconds of the process that a folder in /proc is of; 0 if it has ended."""
    with contextlib.suppress(OSError):
        fields = _fields(folder / "stat")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _peak_kib(folder: Path) -> int:
    with contextlib.suppress(OSError):
        for line in (folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
