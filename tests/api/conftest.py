"""The app over fakes, started and ready, and a client that speaks to it in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from service.api.app import create_app
from service.observability.observers import RecordingObserver
from service.settings import Settings
from tests.fakes import FakeServedModel, building

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def observer() -> RecordingObserver:
    """Hears of everything the app does."""
    return RecordingObserver()


@pytest.fixture
def serve(observer: RecordingObserver) -> Serve:
    """Serves fake models: `async with serve(model, max_body_bytes=…) as client`."""

    def _serve(*models: FakeServedModel, **settings: object) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        chosen = models or (FakeServedModel(),)
        return serving(create_app(Settings(**settings), building(*chosen), observers=[observer]))  # type: ignore[arg-type]

    return _serve


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Starts the app, waits until it is ready, and stops it."""
    async with app.router.lifespan_context(app), client_of(app) as client:
        while app.state.startup.health().reason.startswith("starting"):
            await asyncio.sleep(0)
        yield client


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client that speaks to the app in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")
