"""Names for what handlers ask FastAPI for. Everything comes from the app's state; nothing is global.

All are `async` though they wait only while a restarted worker loads its models, because FastAPI sends plain functions
through a thread each; and none asks FastAPI for another, because each step of such a chain costs some 30 us. Together
that was 0.5 of 0.9 ms of CPU a request.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Receive, Scope

from service.api.arrival import arrival_of
from service.api.runtime import Runtime, Startup
from service.api.scoring_call import Caller
from service.scoring.protocol import ServedModel
from service.settings import Settings


async def get_startup(request: Request) -> Startup:
    """The watch over start-up: always there, ready or not."""
    return _startup_of(request)


async def get_runtime(request: Request) -> Runtime:
    """What the service serves with; 503 while there is none."""
    return await _startup_of(request).runtime_soon()


async def get_settings(request: Request) -> Settings:
    """The effective settings, as start-up resolved them."""
    return (await _startup_of(request).runtime_soon()).settings


async def get_model(name: str, request: Request) -> ServedModel:
    """The model that the path names; 404 if none answers to it."""
    return (await _startup_of(request).runtime_soon()).find(name)


async def get_caller(request: Request) -> Caller:
    """Who asks: tag, connection, and the observer that will hear of the pairs."""
    return caller_of(request.scope, request.receive, await _startup_of(request).runtime_soon())


def caller_of(scope: Scope, receive: Receive, runtime: Runtime) -> Caller:
    """As `get_caller`, for whoever is not called by FastAPI."""
    state = scope["state"]
    return Caller(
        run_id=state["run_id"],
        arrival=arrival_of(scope, receive),
        observer=state["observer"],
        default_timeout_s=runtime.settings.default_timeout_s,
        logs_text=runtime.settings.log_text,
        client=state["caller"],
    )


StartupDep = Annotated[Startup, Depends(get_startup)]
RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
ModelDep = Annotated[ServedModel, Depends(get_model)]
CallerDep = Annotated[Caller, Depends(get_caller)]


def _startup_of(request: Request) -> Startup:
    startup: Startup = request.app.state.startup
    return startup
