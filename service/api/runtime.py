"""What the edge is given to serve with, and the watch over how it is built.

`Runtime` is all that handlers see of the service; `Startup` says whether there is one yet, and if not, why not.
Neither knows FastAPI or torch: the composition root builds a `Runtime`, tests build one from fakes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from service.api.dialects.policy_templates import Wanted
from service.errors import BodyTooLarge, ModelNotReady, RewardServiceError, UnknownModel
from service.observability.observers import Observer
from service.scoring.protocol import ServedModel
from service.settings import Settings
from service.types import Health, ModelId

_logger = logging.getLogger(__name__)

Progress = Callable[[str], None]
"""Told in words what start-up is doing; may be called from any thread."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The served models (at least one; the first is the default) and the effective settings.

    Attributes:
        policy_template: What the setting of that name stands for; None leaves it to the setting.
    """

    models: Mapping[ModelId, ServedModel]
    settings: Settings
    policy_template: Wanted = None

    @property
    def default_model(self) -> ServedModel:
        """The model of requests that name none."""
        return next(iter(self.models.values()))

    def find(self, name: str | None) -> ServedModel:
        """Returns the model that answers to `name`: its id, or an alias; None means the default.

        Raises:
            UnknownModel: If there is none; the message lists those there are.
        """
        if name is None:
            return self.default_model
        direct = self.models.get(ModelId(self.settings.model_aliases.get(name, name)))
        if direct is not None:
            return direct
        for model in self.models.values():
            if name in model.card.aliases:
                return model
        raise UnknownModel(f"model {name!a} is not loaded; allowed: {', '.join(self.models)}", param="model")

    def check_num_pairs(self, num_pairs: int) -> None:
        """Refuses a request of too many pairs.

        Raises:
            BodyTooLarge: If there are more than `max_pairs_per_request`.
        """
        limit = self.settings.max_pairs_per_request
        if num_pairs > limit:
            raise BodyTooLarge(f"the request has {num_pairs} pairs; allowed: {limit} (max_pairs_per_request)")

    def health(self) -> Health:
        """Ready when every model is; else the reasons of those that are not."""
        healths = {name: model.health() for name, model in self.models.items()}
        reasons = [f"{name}: {health.reason}" for name, health in healths.items() if not health.is_ready]
        is_final = any(health.is_final for health in healths.values())
        return Health(not reasons, "; ".join(reasons), is_final)


BuildRuntime = Callable[[Settings, Observer, Progress], AbstractAsyncContextManager[Runtime]]
"""Builds the runtime on entering and closes it, in reverse, on leaving; told whom to notify and where to tell
progress. It runs on the event loop: whatever blocks (loading weights, warming up) belongs on a thread."""


class Startup:
    """Builds the runtime behind an open socket, holds it while the server lives, closes it at the end."""

    def __init__(self, on_failure: Callable[[Exception], None], wait_s: float = 0.0) -> None:
        """`wait_s`: how long requests wait for a runtime that is being built, instead of being refused at once."""
        self._on_failure = on_failure
        self._wait_s = wait_s
        self._has_begun = asyncio.Event()
        self._maybe_runtime: Runtime | None = None
        self._reason = "starting"
        self._is_over = asyncio.Event()
        self._is_draining = False

    @property
    def is_built(self) -> bool:
        """Whether there are models to close."""
        return self._maybe_runtime is not None

    def runtime(self) -> Runtime:
        """Returns the runtime.

        Raises:
            ModelNotReady: If it is still being built, could not be built, or is being drained or closed.
        """
        if self._maybe_runtime is None or self._is_draining:
            raise ModelNotReady(self._reason)
        return self._maybe_runtime

    async def runtime_soon(self) -> Runtime:
        """Returns the runtime, waiting for it while it is being built, if requests are to wait.

        Raises:
            ModelNotReady: As `runtime` does, once the wait is over.
        """
        if self._wait_s and self._maybe_runtime is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_begun.wait(), self._wait_s)
        return self.runtime()

    def health(self) -> Health:
        """Whether every model can score now, and if not, why not."""
        if self._maybe_runtime is None or self._is_draining:
            return Health(False, self._reason)
        return self._maybe_runtime.health()

    async def drain(self, grace_s: float) -> None:
        """Stops admission now; what was admitted has `grace_s` seconds, then it is answered with `cancelled`."""
        if self._maybe_runtime is None:
            return
        self._is_draining = True
        self._reason = "shutting down"
        await asyncio.sleep(grace_s)
        for model in self._maybe_runtime.models.values():
            model.cancel_all()

    def tell(self, progress: str) -> None:
        """Takes note of what start-up is doing, for `/readyz`; safe from any thread."""
        self._reason = f"starting: {progress}"

    @asynccontextmanager
    async def holding(self, build: Callable[[], AbstractAsyncContextManager[Runtime]]) -> AsyncIterator[None]:
        """Builds in the background while the body runs; on leaving it closes the runtime, or stops building it."""
        holder = asyncio.create_task(self._hold(build))
        try:
            yield
        finally:
            self._is_over.set()
            if self._maybe_runtime is None:
                holder.cancel()
            await asyncio.wait({holder})

    async def _hold(self, build: Callable[[], AbstractAsyncContextManager[Runtime]]) -> None:
        """Builds, publishes, waits, closes: one task does all four, as some libraries demand."""
        try:
            async with build() as runtime:
                self._maybe_runtime = runtime
                self._has_begun.set()
                await self._is_over.wait()
                self._withdraw("shutting down")
        except Exception as error:
            doing = "shutting down" if self._is_over.is_set() else "start-up"
            self._withdraw(f"{doing} failed: {error}")
            # One of ours says all a person needs; anything else is a fault of the program, and its place helps.
            _logger.error("%s failed: %s", doing, error, exc_info=not isinstance(error, RewardServiceError))
            if not self._is_over.is_set():
                self._on_failure(error)

    def _withdraw(self, reason: str) -> None:
        self._maybe_runtime = None
        self._reason = reason
        self._has_begun.set()
