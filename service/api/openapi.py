"""The text of `/openapi.json`: FastAPI's, with the nulls of our worked examples put back."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute


def describe(app: FastAPI) -> dict[str, Any]:
    """Describes all routes. FastAPI drops every null, also where an example means one (`"ended": null`)."""
    description = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _restore_examples(description["paths"][route.path_format][method.lower()], route)
    return description


def _restore_examples(operation: dict[str, Any], route: APIRoute) -> None:
    for status, reply in route.responses.items():
        operation["responses"][str(status)]["content"].update(reply.get("content", {}))
