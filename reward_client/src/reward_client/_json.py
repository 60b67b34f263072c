"""Strict reading of JSON: cut short, NaN, Infinity or another shape is a malformed reply, never a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

_SHOWN_BYTES = 200
"""How much of an unreadable body goes into an error message."""


class MalformedReply(Exception):
    """The reply is not what the API promises; the message says how."""


def read_json(data: bytes) -> Any:
    """Returns the parsed JSON.

    Raises:
        MalformedReply: if it is cut short, or holds NaN or Infinity, or is no JSON at all.
    """
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedReply(f"not JSON ({error}): {shown(data)}") from error


def read_object(data: bytes) -> Mapping[str, Any]:
    """As `read_json`, and refuses everything but an object."""
    parsed = read_json(data)
    if not isinstance(parsed, dict):
        raise MalformedReply(f"not a JSON object: {shown(data)}")
    return parsed


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def shown(data: bytes) -> str:
    """Returns the beginning of a body, for a message."""
    text = data[:_SHOWN_BYTES].decode("utf-8", "replace").strip()
    return (text or "an empty body") + ("…" if len(data) > _SHOWN_BYTES else "")
