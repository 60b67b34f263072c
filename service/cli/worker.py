"""The worker process: the app over the models, on a socket that is already open.

It ends in order when told to (admission stops, what was admitted has a grace time, everyone is answered, status 0), and
by itself with a status of its own when an engine is lost: a thread stuck in a library cannot be restarted, a process
can. Two things bound what nothing inside could: a watchdog in C for an event loop that is blocked altogether, and a
timer for a shutdown that does not end.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import logging
import math
import resource
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from service.api.runtime import Startup
from service.cli.idle_collector import IdleCollector
from service.cli.listener import BACKLOG
from service.cli.supervisor import ENGINE_LOST, leave
from service.cli.turnstile import Connection, Turnstile
from service.settings import Settings

_logger = logging.getLogger(__name__)

REPLY_S: Final = 5.0
"""After the grace time: for replies to be written to slow readers before their connections are cut."""

CLOSING_S: Final = 15.0
"""After that: for models to be closed; a process that has not ended then is ended."""

REARM_TICKS: Final = 50
"""Ticks of the server's main loop, of 0.1 s each, between two winds of the watchdog."""

COLLECT_TICKS: Final = 50
"""Ticks between two looks at whether nobody waits, so that garbage may be collected."""

BLOCKED_LOOP_S: Final = 60.0
"""Seconds beyond `max_forward_s` after which a blocked event loop ends the process."""


ACCEPTS_A_TURN: Final = 64
"""Connections accepted at a turn of the event loop, about 0.1 ms of work each."""


class Server(uvicorn.Server):
    """uvicorn's server, which drains by our rules and leaves when an engine is lost."""

    def __init__(self, app: Callable[..., Any], startup: Startup, settings: Settings) -> None:
        super().__init__(uvicorn_config(app, settings))
        self._startup = startup
        self._settings = settings
        self._collector = IdleCollector()
        self.has_lost_engine = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept; asyncio takes one number for both what it accepts at a turn and the kernel's queue."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)

    async def on_tick(self, counter: int) -> bool:
        """Looks after the engines, ten times a second, and now and then after garbage."""
        if counter % REARM_TICKS == 0:
            faulthandler.dump_traceback_later(self._settings.max_forward_s + BLOCKED_LOOP_S, exit=True)
        if counter % COLLECT_TICKS == 0:
            self._collector.look(self.server_state.total_requests, len(self.server_state.tasks))
        health = self._startup.health()
        if health.is_final and not self.should_exit:
            _logger.error("an engine is lost, leaving: %s", health.reason)
            self.has_lost_engine = True
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops admission at once, and after the grace time answers everyone who still waits."""
        faulthandler.cancel_dump_traceback_later()
        status = ENGINE_LOST if self.has_lost_engine or self._startup.is_built else 0
        limit_s = self._settings.shutdown_grace_s + REPLY_S + CLOSING_S
        backstop = threading.Timer(limit_s, leave, args=(status,))
        backstop.daemon = True
        backstop.start()
        drain = asyncio.create_task(self._startup.drain(self._settings.shutdown_grace_s))
        try:
            await super().shutdown(sockets)
        finally:
            drain.cancel()


def uvicorn_config(app: Callable[..., Any], settings: Settings) -> uvicorn.Config:
    """What uvicorn is told: no access log (ours has the request's id and no key), no websockets, TLS if asked for."""
    password = settings.tls_keyfile_password
    return uvicorn.Config(
        app,
        http=functools.partial(Connection, Turnstile()),  # type: ignore[arg-type]  # called as a class is, no more
        log_config=None,
        access_log=False,
        backlog=ACCEPTS_A_TURN,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_s + REPLY_S),
        ssl_certfile=settings.tls_certfile,
        ssl_keyfile=settings.tls_keyfile,
        ssl_keyfile_password=password.get_secret_value() if password else None,
    )


def stop_on_signals(server: uvicorn.Server) -> None:
    """Lets SIGTERM and SIGINT stop the server from now on, and end it with status 0.

    uvicorn takes them over while it serves and raises them again at its end: that meets this handler, not the default.
    """
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, server.handle_exit)


def allow_many_connections() -> None:
    """Raises the soft limit of open files to the hard one: each connection of a burst is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
