"""A client to score with: of a server at a URL, or of the same app with the models loaded into this process.

Either way the same client speaks to the same app, so that a file gets the scores HTTP would give.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from reward_client import AsyncClient
from service.errors import SettingsError
from service.settings import Settings

STARTUP_TIMEOUT_S = 3600.0
"""A model of many gigabytes takes minutes to read from a slow disk."""

CALL_TIMEOUT_S = 30 * 86_400.0
"""A job has no deadline of its own; a request within it has the client's."""

PAIRS_PER_LOCAL_CALL = 64
"""An in-process reply comes in one piece: smaller calls show progress sooner and lose less to a kill."""


@asynccontextmanager
async def connect(
    settings: Settings, url: str | None, api_key: str | None, progress: Callable[[str], None]
) -> AsyncIterator[AsyncClient]:
    """A ready client.

    Args:
        url: A running server; None loads the settings' models here.

    Raises:
        SettingsError: If the models cannot be brought up.
    """
    if url is None:
        async with _in_process(settings, progress) as client:
            yield client
    else:
        async with AsyncClient(url, api_key=api_key, timeout_s=CALL_TIMEOUT_S, priority="bulk") as client:
            await client.wait_ready()
            yield client


@asynccontextmanager
async def _in_process(settings: Settings, progress: Callable[[str], None]) -> AsyncIterator[AsyncClient]:
    """The app with its models in this process; torch is loaded only now."""
    from service.api.app import create_app
    from service.runtime import build_runtime

    failures: list[Exception] = []
    local = settings.model_copy(update={"api_keys": (), "default_timeout_s": 86_400.0})
    app = create_app(local, build_runtime, on_startup_failure=failures.append)
    async with app.router.lifespan_context(app):
        progress("loading " + ", ".join(local.models))
        transport = httpx.ASGITransport(app)
        async with AsyncClient(
            "http://local",
            transport=transport,
            timeout_s=CALL_TIMEOUT_S,
            attempt_timeout_s=86_400.0,
            priority="bulk",
            max_pairs_per_request=PAIRS_PER_LOCAL_CALL,
        ) as client:
            await _wait_until_up(client, failures)
            yield client


async def _wait_until_up(client: AsyncClient, failures: list[Exception]) -> None:
    """Returns when the models score; raises at once if they cannot be brought up."""
    waiting = asyncio.create_task(client.wait_ready(STARTUP_TIMEOUT_S))
    while not waiting.done() and not failures:
        await asyncio.wait({waiting}, timeout=0.05)
    if failures:
        waiting.cancel()
        raise SettingsError(f"cannot load the model: {failures[0]}")
    waiting.result()
