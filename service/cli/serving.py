"""Runs the HTTP server: opens the socket, then serves from a worker under a supervisor, or from this process.

The worker's half is imported by the worker alone: the supervisor stays light.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from service.cli.lifeline import become_worker, inherited
from service.cli.listener import listen, url_of
from service.cli.supervisor import CANNOT_SERVE, ENGINE_LOST, Supervisor, leave
from service.observability.logs import configure_logging
from service.settings import Settings

if TYPE_CHECKING:
    from service.api.runtime import BuildRuntime, Runtime
    from service.engine.protocol import Progress
    from service.observability.observers import Observer


def run_server(settings: Settings, build: BuildRuntime | None = None) -> int:
    """Serves until told to stop; returns the exit status: 0, 1 if it cannot serve, 3 if an engine was lost.

    Args:
        build: Builds the runtime instead of `service.runtime.build_runtime`; it may not be importable without torch.
    """
    configure_logging(settings.log_level, sys.stderr)
    for told in (signal.SIGTERM, signal.SIGINT):  # until whoever serves has handlers of its own
        signal.signal(told, lambda number, frame: sys.exit(0))
    inheritance = inherited(os.environ.pop)
    if inheritance is not None:
        inheritance.lifeline.end_with_parent()
        wait_s = settings.park_s if inheritance.is_restart else 0.0
        leave(run_worker(settings, inheritance.listener, inheritance.lifeline.tell_ready, wait_s, build))
    listener = listen(settings)
    click.echo(
        f"reward-server listening on {url_of(listener, settings)}, loading {', '.join(settings.models)}", err=True
    )
    if settings.supervise:
        return Supervisor(functools.partial(become_worker, listener), listener).run()
    status = run_worker(settings, listener, lambda: None, 0.0, build)
    if status == ENGINE_LOST:
        leave(status)
    return status


def run_worker(
    settings: Settings,
    listener: socket.socket,
    tell_ready: Callable[[], None],
    startup_wait_s: float,
    build: BuildRuntime | None = None,
) -> int:
    """Serves on an open socket until told to stop; returns the exit status.

    Args:
        tell_ready: Called once the models are loaded.
        startup_wait_s: How long requests wait for the models, instead of being refused at once.
        build: As in `run_server`.
    """
    from service.api.app import create_app
    from service.cli.worker import Server, allow_many_connections, stop_on_signals
    from service.observability.logs import LogObserver
    from service.runtime import build_runtime

    chosen_build = build_runtime if build is None else build
    url = url_of(listener, settings)
    failures: list[Exception] = []

    @asynccontextmanager
    async def announced(settings: Settings, observer: Observer, progress: Progress) -> AsyncIterator[Runtime]:
        def tell(words: str) -> None:
            click.echo(f"  {words}", err=True)
            progress(words)

        async with chosen_build(settings, observer, tell) as runtime:
            _spare_the_collector()
            click.echo(_ready_line(runtime, url))
            tell_ready()
            yield runtime

    def fail(error: Exception) -> None:
        failures.append(error)
        click.echo(f"reward-server: cannot serve: {error}", err=True)
        server.should_exit = True

    app = create_app(
        settings,
        announced,
        observers=(LogObserver(),),
        on_startup_failure=fail,
        startup_wait_s=startup_wait_s,
    )
    server = Server(app, app.state.startup, settings)
    allow_many_connections()
    stop_on_signals(server)
    with listener:
        server.run(sockets=[listener])
    if server.has_lost_engine:
        return ENGINE_LOST
    return CANNOT_SERVE if failures else 0


def _spare_the_collector() -> None:
    """Takes models and modules out of garbage collection, and makes it rare while there are requests.

    With Python's defaults each of 4,000 requests at once cost 0.96 ms of processor time at the HTTP edge; so, 0.38 ms.
    The youngest are few enough that looking through them is no pause to speak of: 100,000 took up to 113 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 250, 100)


def _ready_line(runtime: Runtime, url: str) -> str:
    """What is said once the models are up: where they answer, or why they do not score."""
    health = runtime.health()
    if not health.is_ready:
        return f"reward-server at {url} is NOT ready: {health.reason}"
    cards = [model.card for model in runtime.models.values()]
    names = ", ".join(f"model {card.model_id}, fingerprint {card.fingerprint}" for card in cards)
    return f"reward-server ready on {url} ({names})"
