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
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from service.engine.protocol import Engine, Progress
from service.errors import EngineFailure
from service.frame import Frame
from service.types import EngineInfo, Reward

Returned = TypeVar("Returned")


@dataclass(eq=False, slots=True)
class _Call:
    """A verb on its way to the thread, and the future of what it returns; `waiter` is told when it has."""

    verb: Callable[[], Any]
    future: asyncio.Future[Any]
    waiter: asyncio.Future[None] | None = None
    began_s: float | None = None

    def settle(self, returned: object, error: Exception | None = None) -> None:
        """Hands over what became of it; callable from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.future.get_loop().call_soon_threadsafe(self._settle, returned, error)

    def _settle(self, returned: object, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(returned)
        else:
            self.future.set_exception(error)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


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
        await self._submit(lambda: self._engine.warm_up(progress)).future
        self._add_threads(self._engine.num_lanes - len(self._threads))

    async def run(self, frame: Frame) -> tuple[Reward, ...]:
        """Computes a frame; raises what the engine raises. Calls count as made in the order of their first steps.

        Raises:
            EngineFailure: If a thread has ended, ends meanwhile, or the forward pass passed its bound.
        """
        call = self._submit(self._engine.begin(frame))
        while not call.future.done():
            call.waiter = asyncio.get_running_loop().create_future()  # its own: whoever stops waiting ends no verb
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_left(call)):
                    await call.waiter
            if not call.future.done() and self._seconds_left(call) == 0.0:
                self._end(f"a forward pass has not returned within {self._max_forward_s:g} s (max_forward_s)")
        return cast("tuple[Reward, ...]", call.future.result())

    async def close(self) -> None:
        """Waits for what runs, closes the engine and ends the threads; one that is stuck is left behind."""
        with self._lock:
            running = [call.future for call in self._open]
        if running:
            await asyncio.wait(running)
        if self.is_alive:
            with contextlib.suppress(EngineFailure):
                await self._submit(self._engine.close).future
            self._end("it was closed")

    def _submit(self, verb: Callable[[], Any]) -> _Call:
        call = _Call(verb, asyncio.get_running_loop().create_future())
        with self._lock:
            if not self.is_alive:
                raise EngineFailure(f"the engine thread is not running: {self.ended_because}")
            self._open.add(call)
            self._calls.put(call)
        return call

    def _add_threads(self, num: int) -> None:
        for _ in range(num):
            thread = threading.Thread(target=self._work, name=f"engine-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _seconds_left(self, call: _Call) -> float | None:
        """Seconds until a verb is overdue; the whole bound while it has not begun; None without a bound."""
        began_s = call.began_s
        if self._max_forward_s is None or began_s is None:
            return self._max_forward_s
        return max(0.0, self._max_forward_s - (time.monotonic() - began_s))

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
                call.settle(call.verb())
            except StopIteration as error:  # a future cannot carry it
                call.settle(None, EngineFailure(f"the engine failed: {error!r}"))
            except Exception as error:
                call.settle(None, error)
            except BaseException as error:
                self._end(f"the engine raised {type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self._open.discard(call)

    def _end(self, reason: str) -> None:
        """Ends all service: fails everything handed over and lets each thread go when it comes back."""
        with self._lock:
            if self._ended_because:
                return
            self._ended_because = reason
            left, self._open = self._open, set()
        for call in left:
            call.settle(None, EngineFailure(f"the engine thread is not running: {reason}"))
        for _ in self._threads:
            self._calls.put(None)
