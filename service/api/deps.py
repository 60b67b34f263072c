"""Names for what handlers ask FastAPI for. Everything comes from the app's state; nothing is global."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.api.runtime import Runtime, Startup
from service.api.scoring_call import Caller
from service.scoring.protocol import ServedModel
from service.settings import Settings


def get_startup(request: Request) -> Startup:
    """The watch over start-up: always there, ready or not."""
    startup: Startup = request.app.state.startup
    return startup


StartupDep = Annotated[Startup, Depends(get_startup)]


def get_runtime(startup: StartupDep) -> Runtime:
    """What the service serves with; 503 while there is none."""
    return startup.runtime()


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]


def get_settings(runtime: RuntimeDep) -> Settings:
    """The effective settings, as start-up resolved them."""
    return runtime.settings


SettingsDep = Annotated[Settings, Depends(get_settings)]


def get_model(name: str, runtime: RuntimeDep) -> ServedModel:
    """The model that the path names; 404 if none answers to it."""
    return runtime.find(name)


ModelDep = Annotated[ServedModel, Depends(get_model)]


def get_caller(request: Request, runtime: RuntimeDep) -> Caller:
    """Who asks: tag, connection, and the observer that will hear of the pairs."""
    return Caller(
        run_id=request.state.run_id,
        receive=request.receive,
        observer=runtime.observer,
        default_timeout_s=runtime.settings.default_timeout_s,
        logs_text=runtime.settings.log_text,
    )


CallerDep = Annotated[Caller, Depends(get_caller)]
