"""The threads that compute: one for each frame that the engine may run at once. Frames start in the order given.

The threads are ours rather than an executor's, for three reasons: they end, and say why, when an engine raises what no
engine should (`SystemExit`, `KeyboardInterrupt`); a forward pass that never returns is given up after a bound, and
whoever waited is answered; and a thread stuck in a library does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeAlias, cast

from service.engine.protocol import Engine, Progress
from service.errors import EngineFailure
from service.frame import Frame
from service.types import EngineInfo, Reward

Computed: TypeAlias = "tuple[Reward, ...] | Exception"
"""What became of a frame: its rewards, or what the engine raised."""


@dataclass(eq=False, slots=True)
class _Call:
    """A verb on its way to a thread, and whom to tell, on the event loop, what it returned or raised."""

    verb: Callable[[], Any]
    tell: Callable[[Any], None]
    loop: asyncio.AbstractEventLoop
    is_bounded: bool
    began_s: float | None = None
    is_settled: bool = False


class EngineThread:
    """Runs an engine's verbs in threads of its own and awaits them from the event loop.

    More frames may be handed over than the engine runs at once; the next starts the moment one is done.
    """

    def __init__(self, engine: Engine, max_forward_s: float | None = None) -> None:
        """`max_forward_s`: seconds after which a forward pass that has not returned is given up; None: never."""
        self._engine = engine
        self._max_forward_s = max_forward_s
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._open: set[_Call] = set()
        self._lock = threading.Lock()
        self._ended_because = ""
        self._has_lost_thread = False
        self._timer: asyncio.TimerHandle | None = None
        self._all_told: asyncio.Future[None] | None = None
        self._threads: list[threading.Thread] = []
        self._add_threads(1)

    @property
    def is_alive(self) -> bool:
        """Whether frames handed over now would run."""
        return not (self._ended_because or self._has_lost_thread)

    @property
    def ended_because(self) -> str:
        """Why no frame will run any more; empty while the threads live."""
        return self._ended_because or ("it ended without saying why" if self._has_lost_thread else "")

    @property
    def num_lanes(self) -> int:
        """How many frames run at once."""
        return len(self._threads)

    def info(self) -> EngineInfo:
        """The engine's own description."""
        return self._engine.info()

    async def warm_up(self, progress: Progress) -> None:
        """Warms the engine up in its thread; `progress` is called from that thread. Takes as long as it takes."""
        await self._returned(lambda: self._engine.warm_up(progress))
        self._add_threads(self._engine.num_lanes - len(self._threads))

    def hand_over(self, frame: Frame, tell: Callable[[Computed], None]) -> None:
        """Takes a frame in and returns; raises nothing. Frames start in the order they are handed over.

        Args:
            tell: Called once, at a later turn of this event loop, with what became of the frame. It is an
                `EngineFailure` if a thread has ended, ends meanwhile, or the forward pass passed its bound.
        """
        try:
            self._submit(self._engine.begin(frame), tell, is_bounded=True)
        except Exception as error:  # whoever asks is told of it as of any other: later
            asyncio.get_running_loop().call_soon(tell, error)

    async def run(self, frame: Frame) -> tuple[Reward, ...]:
        """Computes a frame: `hand_over` for those who wait. Who stops waiting ends no frame.

        Raises:
            Exception: What the engine raised, or the `EngineFailure` that `hand_over` tells of.
        """
        future = asyncio.get_running_loop().create_future()
        self.hand_over(frame, partial(_resolve, future))
        return cast("tuple[Reward, ...]", await future)

    async def close(self) -> None:
        """Waits for what runs, closes the engine and ends the threads; one that is stuck is left behind."""
        while self._open:
            self._all_told = asyncio.get_running_loop().create_future()
            await self._all_told
        if self.is_alive:
            with contextlib.suppress(EngineFailure):
                await self._returned(self._engine.close)
            self._end("it was closed")
        if self._timer is not None:
            self._timer.cancel()

    async def _returned(self, verb: Callable[[], Any]) -> object:
        """What a verb returns that may take as long as it takes."""
        future = asyncio.get_running_loop().create_future()
        self._submit(verb, partial(_resolve, future), is_bounded=False)
        return await future

    def _submit(self, verb: Callable[[], Any], tell: Callable[[Any], None], *, is_bounded: bool) -> None:
        call = _Call(verb, tell, asyncio.get_running_loop(), is_bounded)
        with self._lock:
            if not self.is_alive:
                raise EngineFailure(f"the engine thread is not running: {self.ended_because}")
            self._open.add(call)
            self._calls.put(call)
        if is_bounded and self._timer is None and self._max_forward_s is not None:
            self._timer = call.loop.call_later(self._max_forward_s, self._watch, self._max_forward_s)

    def _add_threads(self, num: int) -> None:
        for _ in range(num):
            thread = threading.Thread(target=self._work, name=f"engine-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _watch(self, max_forward_s: float) -> None:
        """Ends all service if a frame is overdue; else looks again when the first of those that run would be.

        One timer for all frames: none of them costs one of its own.
        """
        now_s = time.monotonic()
        began_s = [now_s if call.began_s is None else call.began_s for call in self._open if call.is_bounded]
        left_s = min(began_s, default=now_s) + max_forward_s - now_s
        self._timer = None
        if left_s <= 0:
            self._end(f"a forward pass has not returned within {max_forward_s:g} s (max_forward_s)")
        elif began_s:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._watch, max_forward_s)

    def _work(self) -> None:
        """A thread's whole life."""
        try:
            self._serve()
        finally:
            self._has_lost_thread = True

    def _serve(self) -> None:
        """One verb after the other until told to end, or until this thread must not be trusted any more."""
        while (call := self._calls.get()) is not None and not self._ended_because:
            call.began_s = time.monotonic()
            try:
                returned = call.verb()
            except StopIteration as error:  # a future cannot carry it
                returned = EngineFailure(f"the engine failed: {error!r}")
            except Exception as error:
                returned = error
            except BaseException as error:
                self._end(f"the engine raised {type(error).__name__}: {error}")
                continue
            _soon(call.loop, self._settle, call, returned)

    def _settle(self, call: _Call, returned: object) -> None:
        """Tells a verb's caller, once: a frame may be done and given up at the same moment."""
        if call.is_settled:
            return
        call.is_settled = True
        self._open.discard(call)
        if self._all_told is not None and not self._open and not self._all_told.done():
            self._all_told.set_result(None)
        call.tell(returned)

    def _end(self, reason: str) -> None:
        """Ends all service: fails everything handed over, at one turn, and lets each thread go when it comes back."""
        with self._lock:
            if self._ended_because:
                return
            self._ended_because = reason
            left = list(self._open)
        for loop in {call.loop for call in left}:
            _soon(loop, self._fail, [call for call in left if call.loop is loop])
        for _ in self._threads:
            self._calls.put(None)

    def _fail(self, calls: Iterable[_Call]) -> None:
        for call in calls:
            self._settle(call, EngineFailure(f"the engine thread is not running: {self._ended_because}"))


def _soon(loop: asyncio.AbstractEventLoop, tell: Callable[..., None], *told: object) -> None:
    """Has a loop tell someone; callable from any thread."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell, *told)


def _resolve(future: asyncio.Future[Any], returned: object) -> None:
    """Gives a future what a verb returned or raised, unless whoever waited has gone."""
    if future.done():
        return
    if isinstance(returned, Exception):
        future.set_exception(returned)
    else:
        future.set_result(returned)
