"""The one thread that may touch an engine. Everything that runs on the device runs here, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.engine.protocol import Engine, Progress
from service.frame import Frame
from service.types import EngineInfo, Reward

Returned = TypeVar("Returned")


class EngineThread:
    """Runs an engine's verbs in its own thread and awaits them from the event loop.

    A second frame may be handed over while one runs; it starts the moment the first is done.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._is_closed = False

    @property
    def is_alive(self) -> bool:
        """Whether frames handed over now would run."""
        return not self._is_closed

    def info(self) -> EngineInfo:
        """The engine's own description."""
        return self._engine.info()

    async def warm_up(self, progress: Progress) -> None:
        """Warms the engine up in its thread; `progress` is called from that thread."""
        await self._call(lambda: self._engine.warm_up(progress))

    async def run(self, frame: Frame) -> tuple[Reward, ...]:
        """Computes a frame; raises what the engine raises."""
        return await self._call(lambda: self._engine.run(frame))

    async def close(self) -> None:
        """Waits for what runs, closes the engine and ends the thread."""
        if not self._is_closed:
            await self._call(self._engine.close)
            self._is_closed = True
            self._executor.shutdown(wait=False)

    async def _call(self, verb: Callable[[], Returned]) -> Returned:
        return await asyncio.get_running_loop().run_in_executor(self._executor, verb)
