"""How frames share the processor's cores: one core each while several run, all cores for one that runs alone.

Torch's own threads split every operation and meet at the end of each; what one of them loses to the system, all
lose, and the shorter the operation the more. Here every operation runs on one thread. Frames that run at the same
time never meet: beside two threads an operation, an 8-layer Llama of hidden size 512 did 1.11 times as many tokens a
second (AVX2, 2 cores). A frame that is alone hands out blocks of its rows, or of its heads, three times a layer.

Who computes a row, and beside which others, does not change its bits: blocks are whole multiples of 32 rows, and
`frame_sizes` and `packed_linear` admit only what gives a row the same bits among few and among many.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from queue import SimpleQueue
from typing import TypeVar

import torch

BLOCK_ROWS = 32
"""Blocks of rows are multiples of it, so that no vectorised loop ends in the middle of a row of another block."""

WORTH_SHARING = 1 << 26
"""Products of a layer's weights and a frame's rows that each core must get for sharing to be worth the handing over
(some 0.1 ms a time): about a millisecond's work on a core with AVX2."""

Part = TypeVar("Part")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Task:
    """A block of work for a helper, and whoever waits for it."""

    work: Callable[[], object]
    done: SimpleQueue[_Task]
    result: object = None
    error: BaseException | None = None

    def run(self) -> None:
        """Does it, and says so."""
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        self.done.put(self)


@dataclass(slots=True)
class Lanes:
    """The cores of one engine. Frames `enter` while they run; each asks anew, at every step, how many cores it has.

    Attributes:
        num: Frames that may run at once.
        min_shared_work: As `WORTH_SHARING`.
        is_sharing: Whether a frame that is alone gets every core.
    """

    num: int
    min_shared_work: int = WORTH_SHARING
    is_sharing: bool = True
    _running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tasks: SimpleQueue[_Task | None] = field(default_factory=SimpleQueue)
    _helpers: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Counts a frame among those that want a core."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    @contextmanager
    def left(self) -> Iterator[None]:
        """Counts a frame out while it waits for another."""
        self._count(-1)
        try:
            yield
        finally:
            self._count(1)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """One core to each frame inside."""
        was_sharing, self.is_sharing = self.is_sharing, False
        try:
            yield
        finally:
            self.is_sharing = was_sharing

    @property
    def width(self) -> int:
        """Cores for each frame that runs now."""
        return max(1, self.num // max(1, self._running)) if self.is_sharing else 1

    def rows(self, num_rows: int, row_work: int) -> list[slice]:
        """Blocks of rows, one for each core that the frame may use and has enough work for.

        Args:
            row_work: Multiplications of one row in the layer.
        """
        num_blocks = -(-num_rows // BLOCK_ROWS)
        width = min(self.width, num_blocks, max(1, num_rows * row_work // max(1, self.min_shared_work)))
        return [
            slice(part.start * BLOCK_ROWS, min(part.stop * BLOCK_ROWS, num_rows)) for part in even(num_blocks, width)
        ]

    def each(self, parts: Sequence[Part], work: Callable[[Part], Result]) -> list[Result]:
        """`work` of every part, in order; the first in the calling thread, the others in helpers."""
        if len(parts) == 1:
            return [work(parts[0])]
        self._hire(len(parts) - 1)
        done: SimpleQueue[_Task] = SimpleQueue()
        tasks = [_Task(lambda part=part: work(part), done) for part in parts]  # type: ignore[misc]
        for task in tasks[1:]:
            self._tasks.put(task)
        tasks[0].run()
        for _ in tasks:  # all of them, even after an error: they write where the caller may
            done.get()
        for task in tasks:
            if task.error is not None:
                raise task.error
        return [task.result for task in tasks]  # type: ignore[misc]

    def close(self) -> None:
        """Ends the helpers."""
        for _ in self._helpers:
            self._tasks.put(None)
        self._helpers = []

    def _hire(self, num: int) -> None:
        with self._lock:
            while len(self._helpers) < min(num, self.num - 1):
                helper = threading.Thread(target=self._help, name=f"lane-{len(self._helpers) + 1}", daemon=True)
                self._helpers.append(helper)
                helper.start()

    def _help(self) -> None:
        with torch.inference_mode():
            while (task := self._tasks.get()) is not None:
                task.run()
                del task  # it holds tensors

    def _count(self, change: int) -> None:
        with self._lock:
            self._running += change


def even(total: int, num_parts: int) -> list[slice]:
    """`total` things in `num_parts` runs as even as can be.

    >>> even(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    bounds = [total * part // num_parts for part in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]
