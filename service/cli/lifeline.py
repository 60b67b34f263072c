"""What ties a worker to its parent: a socket pair, on which the one says that it is ready and the other lives.

The worker runs in a fresh interpreter (fork and exec): one that only forked would import the rest of the program when
it starts, maybe hours later and from other files than its parent did, if the package was upgraded meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

READY: Final = b"r"
"""What a worker sends once it can score."""

VARIABLE: Final = "_REWARD_SERVER_WORKER"
"""Tells a fresh interpreter that it is a worker: the descriptors of listener and lifeline, and whether it is a restart.
No setting: those begin with REWARD_SERVER_."""


class Lifeline:
    """The worker's end."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    @property
    def descriptor(self) -> int:
        """To hand to a fresh interpreter."""
        return self._line.fileno()

    def tell_ready(self) -> None:
        """Tells the parent that this worker can score."""
        with contextlib.suppress(OSError):
            self._line.sendall(READY)

    def end_with_parent(self) -> None:
        """Stops this process in order once its parent is gone, however that died: alone it would hold the port."""
        threading.Thread(target=self._watch, name="parent watch", daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            self._line.recv(1)
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a worker in a fresh interpreter has from its parent."""

    listener: socket.socket
    lifeline: Lifeline
    is_restart: bool


def become_worker(listener: socket.socket, lifeline: Lifeline, is_restart: bool) -> NoReturn:
    """Replaces this process by a fresh interpreter with the same command line, which will find its inheritance."""
    for descriptor in (listener.fileno(), lifeline.descriptor):
        os.set_inheritable(descriptor, True)
    handed = f"{listener.fileno()},{lifeline.descriptor},{int(is_restart)}"
    os.execve(sys.executable, sys.orig_argv, {**os.environ, VARIABLE: handed})


def inherited(pop: Callable[[str, str], str]) -> Inheritance | None:
    """Takes the inheritance out of the environment (`pop` as `os.environ.pop`); None in a process that has none."""
    handed = pop(VARIABLE, "")
    if not handed:
        return None
    listener, line, is_restart = map(int, handed.split(","))
    for descriptor in (listener, line):
        os.set_inheritable(descriptor, False)
    return Inheritance(socket.socket(fileno=listener), Lifeline(socket.socket(fileno=line)), bool(is_restart))
