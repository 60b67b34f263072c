"""The parent process: owns the listening socket, and starts the worker again when it dies.

The socket outlives the worker, so connections made meanwhile wait in its backlog instead of failing. The parent is
light (no torch, no app, no thread). It decides by exit status: 0 was told to stop, 1 and 2 before the models were up
are mistakes that a restart would repeat, anything else (3 for a dead or hung engine, a signal such as the out-of-memory
killer's) is started again, with growing waits, until too many in a row did not last.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from service.cli.lifeline import READY, Lifeline

_logger = logging.getLogger(__name__)

ENGINE_LOST: Final = 3
"""Exit status of a worker whose engine thread died or hung: only a new process helps."""

CANNOT_SERVE: Final = 1
"""Exit status where models cannot be brought up, and of a parent that has given up."""

_TOLD_TO_STOP: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_CONCERN: Final = _TOLD_TO_STOP | {signal.SIGCHLD}

Worker = Callable[[Lifeline, bool], int]
"""Runs in the child: serves until told to stop, tells its lifeline once it can score, returns its exit status. The
second argument says whether it takes the place of one that died, so that callers are waiting."""


@dataclass(slots=True)
class RestartPolicy:
    """When to start a dead worker again. Decisions only: no clock, no processes.

    Attributes:
        first_wait_s: The wait after a first death; it doubles with each further one that came early.
        max_wait_s: The longest wait.
        lasting_s: A worker that was ready and lived so long counts as sound: the next death is a first one.
        max_early_deaths: After so many early deaths in a row it is given up.
    """

    first_wait_s: float = 0.5
    max_wait_s: float = 10.0
    lasting_s: float = 60.0
    max_early_deaths: int = 6
    num_early_deaths: int = 0

    def wait_after(self, lived_s: float, was_ready: bool) -> float | None:
        """Notes a death and returns the seconds to wait before the next start; None to give up."""
        self.num_early_deaths = 0 if was_ready and lived_s >= self.lasting_s else self.num_early_deaths + 1
        if self.num_early_deaths >= self.max_early_deaths:
            return None
        doublings = max(0, self.num_early_deaths - 1)
        return min(self.max_wait_s, self.first_wait_s * 2.0**doublings)


class Supervisor:
    """Keeps one worker running behind a listening socket.

    From `run` on, the signals that concern it are blocked, and taken one at a time where it waits for them: a handler
    could run just before a system call blocks, and the word would be heard only when the worker ends by itself.
    """

    def __init__(self, worker: Worker, listener: socket.socket, policy: RestartPolicy | None = None) -> None:
        self._worker = worker
        self._listener = listener
        self._policy = RestartPolicy() if policy is None else policy
        self._is_stopping = False
        self._num_starts = 0

    def run(self) -> int:
        """Starts the worker, and again when it dies; returns the exit status once it was told to stop or gave up."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # what is ignored may not be waited for
        signal.pthread_sigmask(signal.SIG_BLOCK, _CONCERN)
        while not self._is_stopping:
            started_s = time.monotonic()
            status, was_ready = self._run_worker()
            lived_s = time.monotonic() - started_s
            if self._is_stopping:
                return 0 if not was_ready or status in (0, -signal.SIGTERM) else status_of_parent(status)
            if status == 0 or (status in (1, 2) and not was_ready):
                return status
            wait_s = self._policy.wait_after(lived_s, was_ready)
            if wait_s is None:
                _logger.error(
                    "the worker %s; %d starts in a row did not last: giving up",
                    describe(status),
                    self._policy.num_early_deaths,
                )
                return CANNOT_SERVE
            _logger.error("the worker %s after %.1f s; starting it again in %.1f s", describe(status), lived_s, wait_s)
            self._sleep(wait_s)
        return 0

    def _run_worker(self) -> tuple[int, bool]:
        """One worker's life: its exit status, or minus the signal that killed it, and whether it was ever ready."""
        ours, theirs = socket.socketpair()
        self._num_starts += 1
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._be_worker(Lifeline(theirs))
        theirs.close()
        with ours:
            status = self._wait_for(pid)
            ours.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                return status, ours.recv(1) == READY
        return status, False

    def _wait_for(self, pid: int) -> int:
        """A worker's exit status, once it has one; meanwhile it is told what this process is told."""
        while True:
            ended, wait_status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(wait_status)
            if signal.sigwait(_CONCERN) in _TOLD_TO_STOP:
                self._stop(pid)

    def _be_worker(self, lifeline: Lifeline) -> NoReturn:
        """The child's whole life. It never returns into the parent's frames, and ends whatever threads it has."""
        status = ENGINE_LOST
        try:
            for number in _CONCERN:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _CONCERN)
            status = self._worker(lifeline, self._num_starts > 1)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else CANNOT_SERVE
        except BaseException:
            traceback.print_exc()
        finally:
            leave(status)

    def _stop(self, pid: int) -> None:
        """Refuses new connections and passes the word on; as SIGTERM, since a terminal sends SIGINT to both."""
        self._is_stopping = True
        self._listener.close()
        os.kill(pid, signal.SIGTERM)  # not yet waited for, so still its number

    def _sleep(self, seconds: float) -> None:
        """Waits before the next start, unless told to stop."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0 and not self._is_stopping:
            time.sleep(min(left_s, 0.1))
            self._is_stopping = not signal.sigpending().isdisjoint(_TOLD_TO_STOP)
        if self._is_stopping:
            self._listener.close()


def leave(status: int) -> NoReturn:
    """Ends this process now, whatever its threads are stuck in; what was printed and logged is written first."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def describe(status: int) -> str:
    """An exit status in words."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def status_of_parent(status: int) -> int:
    """The shell's convention: 128 and the signal for what a signal killed."""
    return 128 - status if status < 0 else status
