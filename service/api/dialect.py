"""What a wire protocol brings to the app: its routes and the shape of its errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.routing import Route

from service.api.error_mapping import ErrorShape

ShapeTable = tuple[tuple[re.Pattern[str], ErrorShape], ...]
"""Which paths speak which dialect when something goes wrong; the first match holds."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A wire protocol. Dialects earlier in `create_app`'s list win where paths collide."""

    name: str
    router: APIRouter
    error_shape: ErrorShape


def shape_table(dialects: Iterable[Dialect]) -> ShapeTable:
    """Lists every route's pattern with its dialect's error shape, in the order in which routes are tried."""
    return tuple(
        (route.path_regex, dialect.error_shape)
        for dialect in dialects
        for route in dialect.router.routes
        if isinstance(route, Route)
    )
