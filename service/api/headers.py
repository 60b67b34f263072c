"""Reading one header of an ASGI scope."""

from __future__ import annotations

from starlette.types import Scope


def wire_name(name: str) -> bytes:
    """A header's name as ASGI has it."""
    return name.lower().encode("ascii")


def header_of(scope: Scope, name: bytes) -> str:
    """The first value of a header, by its name in lower case; empty if there is none."""
    for given, value in scope["headers"]:
        if given == name:
            said: bytes = value
            return said.decode("latin-1")
    return ""
