"""Command-line flags made from the settings: one for each field, with its description and its variable's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from pydantic.fields import FieldInfo

from service.settings import ENV_PREFIX, Settings

NOT_FLAGS = frozenset({"models", "config_file"})
"""Given as arguments, or by a flag of their own."""

LOCAL_ENGINE = (
    "weights",
    "tokenizer",
    "dtype",
    "quantization",
    "device",
    "threads",
    "chunk_tokens",
    "max_frame_tokens",
    "prefix_cache_tokens",
)
"""Settings of a model loaded into the process of a command that is no server."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def settings_flags(names: tuple[str, ...] = ()) -> Callable[[_Command], _Command]:
    """Adds a flag for each of the named settings, or for all; a flag that was not given arrives as None."""
    chosen = names or tuple(name for name in Settings.model_fields if name not in NOT_FLAGS)

    def add(command: _Command) -> _Command:
        for name in reversed(chosen):
            command = _flag(name, Settings.model_fields[name])(command)
        return command

    return add


def _flag(name: str, field: FieldInfo) -> Callable[[_Command], _Command]:
    flag = "--" + name.replace("_", "-")
    words = f"{field.description} [{ENV_PREFIX}{name.upper()}]"
    if field.annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=words)
    if name == "api_keys":
        return click.option("--api-key", name, multiple=True, callback=_none_if_empty, help=words)
    return click.option(flag, name, default=None, metavar="VALUE", help=words)


def _none_if_empty(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...] | None:
    return given or None
