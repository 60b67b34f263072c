"""Every setting, once, with its default, its unit and what follows from its value.

Settings are frozen and read once, by `service.settings_loading`; importing this module, or building `Settings(...)`
in a test, reads nothing. `docs/` and `--help` are generated from the descriptions. What a setting does is decided
elsewhere.
"""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.types import Truncation

ENV_PREFIX: Final = "REWARD_SERVER_"
"""What every variable's name starts with; the rest is the field's name in capitals."""

MASK: Final = "***"
"""What a secret looks like wherever it is shown."""


HASHED_KEY_PREFIX: Final = "sha256:"
"""What a key that is configured by its SHA-256 begins with."""

_HASHED_KEY: Final = re.compile(r"sha256:[0-9a-fA-F]{64}")


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
    api_keys: SecretList = Field(
        (),
        description="Keys callers may show (Bearer or ?key=), in clear or as sha256: and "
        "the 64 hex digits of their SHA-256. Empty: no key is asked for.",
    )
    tls_certfile: Path | None = Field(
        None, description="PEM file of the certificate chain to serve HTTPS with; None serves plain HTTP."
    )
    tls_keyfile: Path | None = Field(
        None, description="PEM file of its private key, where the certificate's file does not hold it."
    )
    tls_keyfile_password: SecretStr | None = Field(None, description="Password of an encrypted private key.")
    supervise: bool = Field(
        True,
        description="Serve from a worker process under a parent that keeps the socket open and starts a dead worker "
        "again; no serves from this process, for a supervisor of your own.",
    )
    shutdown_grace_s: float = Field(
        20.0,
        ge=0,
        le=86_400,
        description="Seconds that admitted work may take after SIGTERM; what is left then is answered with the error "
        "cancelled. Allow 25 s more before a kill: Kubernetes' terminationGracePeriodSeconds is 30 by default.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Number format of the backbone; None takes the manifest's. Part of the fingerprint."
    )
    quantization: Literal["none", "int8", "fp8"] = Field(
        "none",
        description="Format the weights of the backbone's linear layers are kept in: int8 and fp8 (e4m3) take one byte "
        "each and compute in dtype. Refused where it changes what the model says. Part of the fingerprint.",
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
        description="Cores of a CPU engine; None takes all. Part of the fingerprint for layers that are not our own.",
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
    park_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="Seconds a bulk request (trainers' routes) waits for room in a full queue before it gets 503; as "
        "much as the queue holds may wait so. Keep it under callers' own time-outs. 0 refuses at once.",
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
    max_forward_s: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Seconds one forward pass may take. Past it the engine counts as hung: everyone who waits gets an "
        "error and the process exits with status 3, since a thread stuck in a library cannot be restarted. "
        "Set it to some ten times your slowest frame.",
    )
    truncation: Truncation = Field(
        Truncation.ERROR,
        description="What compatibility routes do with pairs that are too long: error refuses them.",
    )
    policy_template: str | None = Field(
        None,
        description="Template in which compatibility routes get rendered text: a known one's name, a folder with the "
        "policy's tokenizer, or as-is; None recognises it.",
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
        for key in self.secrets():
            if key.startswith(HASHED_KEY_PREFIX) and not _HASHED_KEY.fullmatch(key):
                raise ValueError("api_keys: a key begins with sha256: but 64 hex digits do not follow; allowed: those")
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Settings:
        if self.tls_certfile is None and (self.tls_keyfile or self.tls_keyfile_password):
            raise ValueError("tls_keyfile: given without tls_certfile; allowed: both, or the certificate alone")
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
