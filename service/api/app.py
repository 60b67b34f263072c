"""The app: routes, middlewares and the life of the runtime behind an open socket.

`create_app` is the only way to get one; there is no app, setting or engine at module level. The socket is open
before the models are loaded: until then `/livez` says 200, `/readyz` says why not, and scoring says 503.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from service.api import ops, pages
from service.api.dialect import Dialect, shape_table
from service.api.dialects import (
    cohere,
    infinity,
    kserve,
    native,
    nvidia,
    openrlhf,
    sglang,
    shared_paths,
    shared_score,
    slime,
    tei,
    vllm,
)
from service.api.error_mapping import KNOWN_ERRORS, handle_error
from service.api.keys import ApiKey
from service.api.middleware import BodyLimit, RequestIdentity, UnexpectedErrors
from service.api.openapi import describe
from service.api.runtime import BuildRuntime, Startup
from service.api.short_way import ShortWay
from service.observability.observers import FanOut, Observer
from service.observability.prometheus import PrometheusObserver
from service.settings import Settings

DIALECTS: Final[tuple[Dialect, ...]] = (
    shared_score.DIALECT,
    native.DIALECT,
    openrlhf.DIALECT,
    slime.DIALECT,
    shared_paths.DIALECT,
    vllm.DIALECT,
    sglang.DIALECT,
    cohere.DIALECT,
    tei.DIALECT,
    infinity.DIALECT,
    kserve.DIALECT,
    nvidia.DIALECT,
)
"""Every wire protocol that is spoken; the earlier wins where paths collide."""

TITLE: Final = "reward-server"


def create_app(
    settings: Settings,
    build_runtime: BuildRuntime,
    *,
    observers: Sequence[Observer] = (),
    on_startup_failure: Callable[[Exception], None] = lambda error: None,
    startup_wait_s: float = 0.0,
    dialects: Sequence[Dialect] = DIALECTS,
) -> FastAPI:
    """Makes an app that builds its runtime in the background once it is started.

    Args:
        settings: As read at start-up; the runtime may hold a version with more resolved.
        build_runtime: Called once, with the settings, the observer of everything, and where to tell progress.
        observers: Who is told of events besides the metrics, such as `LogObserver()`.
        on_startup_failure: Called with the error if the runtime cannot be built, so that the process can exit.
        startup_wait_s: How long requests wait for models that are being loaded; 0 refuses them at once.
        dialects: The wire protocols to speak.
    """
    metrics = PrometheusObserver()
    observer = FanOut((metrics, *observers))
    app = App(
        title=TITLE,
        description="Reward models over HTTP: (prompt, response) in, one exact number out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(settings, build_runtime, observer),
        middleware=[Middleware(UnexpectedErrors)],
    )
    description = functools.cache(lambda: describe(app))
    app.openapi = description  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    app.state.metrics = metrics
    app.state.observer = observer
    app.state.startup = Startup(on_startup_failure, startup_wait_s)
    app.state.error_shapes = shape_table(dialects)
    for kind in KNOWN_ERRORS:
        app.add_exception_handler(kind, handle_error)
    for router in (*(dialect.router for dialect in dialects), ops.router, pages.router):
        app.router.routes.extend(router.routes)
    app.begin_with(settings, observer)
    return app


class App(FastAPI):
    """FastAPI behind our own middlewares, and beside a short way to the busiest routes.

    Ours are outside so that the short way has them without FastAPI's, which nothing there needs. `UnexpectedErrors` is
    inside FastAPI too, whose own answer to an error nobody foresaw would come first.
    """

    def begin_with(self, settings: Settings, observer: Observer) -> None:
        """Takes the middlewares; once, when all routes are there."""
        beyond: ASGIApp = ShortWay(super().__call__, self.router.routes, self.state.startup)
        beyond = BodyLimit(beyond, settings.max_body_bytes, settings.default_timeout_s)
        beyond = UnexpectedErrors(ApiKey(beyond, settings.secrets()))
        self._edge = RequestIdentity(beyond, observer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self._edge(scope, receive, send)


def _lifespan(settings: Settings, build_runtime: BuildRuntime, observer: Observer) -> Lifespan[FastAPI]:
    """Holds the runtime for as long as the app is served."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        startup: Startup = app.state.startup
        async with startup.holding(lambda: build_runtime(settings, observer, startup.tell)):
            yield

    return lifespan
