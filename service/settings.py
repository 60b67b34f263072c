"""Every setting, once: from flags, then `REWARD_SERVER_…` variables, then a TOML file, then the default.

Settings are frozen and read once, by `load_settings`, which takes the environment as an argument: importing
this module, or building `Settings(...)` in a test, reads nothing. Each description names the unit and what follows
from the value; `docs/` and `--help` are generated from them. What a setting does is decided elsewhere.
"""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.errors import SettingsError
from service.types import Truncation

ENV_PREFIX: Final = "REWARD_SERVER_"
"""What every variable's name starts with; the rest is the field's name in capitals."""

MASK: Final = "***"
"""What a secret looks like wherever it is shown."""

_SERVICE_LINKS: Final = ("SERVICE_HOST", "SERVICE_PORT", "PORT_")
"""Kubernetes puts such variables beside every container when a Service is called `reward-server`."""


def _split(value: object) -> object:
    """Lets a list be written `a,b` or as JSON where only text can be given."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _split_pairs(value: object) -> object:
    """Lets a mapping be written `alias=model,alias=model` or as JSON where only text can be given."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return json.loads(value)
    parts = _split(value)
    if not isinstance(parts, list | tuple):
        return value
    if any("=" not in str(part) for part in parts):
        raise ValueError("each alias is written ALIAS=MODEL")
    return dict(str(part).split("=", 1) for part in parts)


TextList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
TextMap = Annotated[dict[str, str], NoDecode, BeforeValidator(_split_pairs)]


class Settings(BaseSettings):
    """The effective settings of one server process."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=ENV_PREFIX)

    models: TextList = Field(
        ("demo",),
        min_length=1,
        description="Models to serve: catalogue names, Hugging Face ids, folders. The first is the default.",
    )
    weights: Path | None = Field(
        None, description="Folder with the weights of a catalogue entry; None uses what the entry names."
    )
    tokenizer: Path | None = Field(None, description="Folder with the tokenizer, where it is not the weights' folder.")
    model_aliases: TextMap = Field(
        default_factory=dict, description="Further names of models, ALIAS=MODEL; requests may use either."
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. Anything but loopback needs api_keys or allow_unauthenticated.",
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 lets the system choose.")
    allow_unauthenticated: bool = Field(False, description="Serve everyone who can reach the address, without a key.")
    api_keys: SecretList = Field((), description="Keys callers may show (Bearer or ?key=). Empty: no key is asked for.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Number format of the backbone; None takes the manifest's. Part of the fingerprint."
    )
    device: str = Field(
        "auto",
        min_length=1,
        description="auto (the first CUDA device, else cpu), cpu, or cuda:0; one for each process. "
        "Part of the fingerprint.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="Threads of a CPU engine; None takes the cores. Part of the fingerprint.",
    )
    tokenizer_threads: int = Field(
        2, ge=1, description="Threads that render and tokenize; more help only while the engine starves."
    )
    chunk_tokens: int = Field(
        512, ge=16, description="Tokens between two cuts of a pair. Changing it may change scores' last bits."
    )
    max_frame_tokens: int | None = Field(
        None, ge=16, description="Most tokens in one forward pass; None takes the engine's own choice."
    )
    prefix_cache_tokens: int | None = Field(
        None,
        ge=0,
        description="Tokens of prompts whose keys and values are kept, so that a prompt is computed once however its "
        "responses arrive; None takes the engine's own choice, 0 keeps none. Changes no score. Pairs longer than "
        "max_frame_tokens need room for the longest of them; with less, frames grow to hold it.",
    )
    max_queue_tokens: int = Field(
        64 * 2**20,
        ge=1,
        description="Most tokens waiting for the engine; beyond it requests get 503. Admission counts bytes "
        "as an upper bound of tokens: keep it at or above max_body_bytes, or a legal body may never fit.",
    )
    max_queue_pairs: int = Field(
        65_536, ge=1, description="Most pairs waiting for the engine; beyond it requests get 503."
    )
    score_cache_pairs: int = Field(
        0,
        ge=0,
        description="Finished scores kept, at about 200 bytes each, so that a retry costs nothing; 0 keeps none.",
    )
    max_pairs_per_request: int = Field(
        10_000,
        ge=1,
        description="Most pairs (or responses to rank) in a request; beyond it the reply is 413.",
    )
    max_body_bytes: int = Field(
        64 * 2**20, ge=1024, description="Most bytes of one request body; beyond it the reply is 413."
    )
    default_timeout_s: float = Field(
        100.0,
        gt=0,
        le=86_400,
        description="Seconds a request without deadline_ms may take; keep it under callers' own time-outs.",
    )
    truncation: Truncation = Field(
        Truncation.ERROR,
        description="What compatibility routes do with pairs that are too long: error refuses them.",
    )
    policy_template: str | None = Field(
        None,
        description="Template in which compatibility routes get rendered text; None recognises it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged; debug adds a line for each pair."
    )
    log_text: bool = Field(
        False, description="Write rendered prompts and responses to the log. They may hold private data."
    )
    config_file: Path | None = Field(None, description="The TOML file these settings were read from, if any.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Takes values from the constructor alone; `load_settings` merges the other sources into it."""
        return (init_settings,)

    @model_validator(mode="after")
    def _keys_hold_text(self) -> Settings:
        if not all(key.get_secret_value().strip() for key in self.api_keys):
            raise ValueError("api_keys: a key is empty; every key needs at least one character")
        return self

    @model_validator(mode="after")
    def _open_addresses_are_guarded(self) -> Settings:
        if not (is_loopback(self.host) or self.api_keys or self.allow_unauthenticated):
            raise ValueError(
                f"host: {self.host!r} can be reached from other machines; allowed: a loopback address such "
                "as 127.0.0.1, or set api_keys (--api-key), or allow_unauthenticated (--allow-unauthenticated)"
            )
        return self

    def secrets(self) -> tuple[str, ...]:
        """Returns the keys in clear, for the one place that compares them."""
        return tuple(key.get_secret_value() for key in self.api_keys)

    def describe(self) -> dict[str, object]:
        """Returns all settings as plain values for `/v1/info` and the log; secrets read `***`."""
        described: dict[str, object] = self.model_dump(mode="json")
        described["api_keys"] = [MASK] * len(self.api_keys)
        return described


def is_loopback(host: str) -> bool:
    """Says whether only this machine can reach `host`; names other than `localhost` count as reachable."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


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
    given = MASK if name == "api_keys" else repr(first["input"])
    description = Settings.model_fields[name].description
    return SettingsError(f"{source}: given {given}; allowed: {first['msg']}. {description}", param=name)


def _source_of(name: str, flags: Mapping[str, object], variables: Mapping[str, object], path: object) -> str:
    if name in flags:
        return "--api-key" if name == "api_keys" else f"--{name.replace('_', '-')}"
    if name in variables:
        return f"{ENV_PREFIX}{name.upper()}"
    return f"{name} in {path}" if path else name
