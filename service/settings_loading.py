"""Where settings come from: flags, then `REWARD_SERVER_…` variables, then a TOML file, then the default.

The environment is an argument; nothing is read twice. A name that is no setting is refused, and a wrong value is
explained by its source, what came and what is allowed, never by a traceback.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from service.errors import SettingsError
from service.settings import ENV_PREFIX, MASK, Settings

SECRETS: Final = frozenset({"api_keys", "tls_keyfile_password"})
"""Settings whose value is never shown."""

_SERVICE_LINKS: Final = ("SERVICE_HOST", "SERVICE_PORT", "PORT_")
"""Kubernetes puts such variables beside every container when a Service is called `reward-server`."""


def load_settings(environ: Mapping[str, str], flags: Mapping[str, object], config_file: Path | None = None) -> Settings:
    """Merges all sources: a flag wins over a variable, a variable over the file, the file over the default.

    Args:
        environ: The environment; only names that start with `REWARD_SERVER_` are looked at.
        flags: Values by field name; None means that the flag was not given.
        config_file: A TOML file of field names; else `REWARD_SERVER_CONFIG_FILE`, else none.

    Raises:
        SettingsError: If a value is not allowed, a name is unknown, or the file cannot be read.
    """
    variables = _variables(environ)
    given = {name: value for name, value in flags.items() if value is not None}
    path = config_file or given.get("config_file") or variables.get("config_file")
    from_file = _read_file(Path(str(path))) if path else {}
    values: dict[str, Any] = {**from_file, **variables, **given}
    if path:
        values["config_file"] = path
    try:
        return Settings(**values)
    except ValidationError as error:
        raise _explained(error, given, variables, path) from None


def _variables(environ: Mapping[str, str]) -> dict[str, object]:
    """Takes our variables out of the environment; an unknown one is most likely a typing error."""
    ours = {
        name: value
        for name, value in environ.items()
        if name.startswith(ENV_PREFIX) and value and not _is_service_link(name, value)
    }
    for name in ours:
        if name.removeprefix(ENV_PREFIX).lower() not in Settings.model_fields:
            raise SettingsError(f"{name} is not a setting; allowed: {_known_names()}", param=name)
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in ours.items()}
    return source()


def _is_service_link(name: str, value: str) -> bool:
    rest = name.removeprefix(ENV_PREFIX)
    return rest.startswith(_SERVICE_LINKS) or (rest == "PORT" and value.startswith("tcp://"))


def _known_names() -> str:
    return ", ".join(f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields)


def _read_file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"config_file: {os.fspath(path)!r} cannot be read ({error}); allowed: a TOML file in UTF-8",
            param="config_file",
        ) from error


def _explained(
    error: ValidationError, flags: Mapping[str, object], variables: Mapping[str, object], path: object
) -> SettingsError:
    """Turns Pydantic's first complaint into a sentence: the source, what came, what is allowed."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        message = first["msg"].removeprefix("Value error, ")
        return SettingsError(message, param=message.partition(":")[0])
    name = str(first["loc"][0])
    source = _source_of(name, flags, variables, path)
    if name not in Settings.model_fields:
        return SettingsError(f"{source} is not a setting; allowed: {_known_names()}", param=name)
    given = MASK if name in SECRETS else repr(first["input"])
    description = Settings.model_fields[name].description
    return SettingsError(f"{source}: given {given}; allowed: {first['msg']}. {description}", param=name)


def _source_of(name: str, flags: Mapping[str, object], variables: Mapping[str, object], path: object) -> str:
    if name in flags:
        return "--api-key" if name == "api_keys" else f"--{name.replace('_', '-')}"
    if name in variables:
        return f"{ENV_PREFIX}{name.upper()}"
    return f"{name} in {path}" if path else name
