"""Blocks for whoever runs the server: settings, metrics, log lines, and what the command line says of itself."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

import click
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, Metric

from docs._generate.fields import type_words
from docs._generate.page import Block, fenced, table
from service.cli import cli
from service.observability.events import (
    SCORED,
    Event,
    FrameRun,
    PairFinished,
    QueueOpened,
    RequestFinished,
    RequestRefused,
)
from service.observability.logs import JsonFormatter, LogObserver
from service.observability.prometheus import PrometheusObserver
from service.settings import ENV_PREFIX, Settings
from service.types import ModelId, Timings

HELP_WIDTH: Final = 100
"""Columns of the terminal whose `--help` the pages show."""

_DEMO: Final = ModelId("demo")

EVENTS: Final[tuple[Event, ...]] = (
    RequestFinished("7f1c…", "grpo-17", "POST", "/v1/score", 200, 0.0125),
    RequestRefused("7f1d…", "grpo-17", "/v1/score", 413, "too_large", "the request has 20000 pairs; allowed: 10000 …"),
    PairFinished(
        _DEMO,
        "native",
        "grpo-17",
        SCORED,
        score=1.8248999118804932,
        prompt_tokens=12,
        response_tokens=3,
        computed_tokens=15,
        timings=Timings(0.0004, 0.0001, 0.0062),
    ),
    FrameRun(_DEMO, num_pairs=8, num_tokens=1980, num_rows=2048, duration_s=0.41),
    QueueOpened(_DEMO, lambda: 0.0, lambda: 0.0),
)
"""One event of each kind."""


def settings(block: Block) -> str:
    """Every setting: flag, variable, type, default, meaning."""
    schema = Settings.model_json_schema()
    rows = []
    for name, field in Settings.model_fields.items():
        about = schema["properties"][name]
        words = type_words(about, schema.get("$defs", {}))
        default = _plain(about.get("default"))
        variable = f"`{ENV_PREFIX}{name.upper()}`"
        rows.append((f"{_flag(name)}<br>{variable}", words, default, field.description or ""))
    return table(("flag and variable", "type", "default", "meaning"), *rows)


def metrics(block: Block) -> str:
    """Every metric: name, type, labels, meaning."""
    rows = [
        (f"`{_exposed_name(family)}`", family.type, ", ".join(_labels(family)), family.documentation)
        for family in families()
    ]
    return table(("metric", "type", "labels", "what"), *rows)


def families() -> list[Metric]:
    """All metrics after one event of each kind, so that each has the labels it gets in service."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    for event in EVENTS:
        observer.notify(event)
    return list(registry.collect())


def log(block: Block) -> str:
    """A log line of each kind of event."""
    written: list[str] = []
    logger = logging.Logger("reward_server.events", logging.DEBUG)
    logger.addHandler(_FixedTime(written))
    observer = LogObserver(logger)
    for event in EVENTS:
        observer.notify(event)
    return fenced("json", "\n".join(written))


def help_text(block: Block) -> str:
    """What `reward-server ARGUMENTS --help` prints."""
    shown = CliRunner().invoke(cli, [*block.arguments, "--help"], prog_name="reward-server", terminal_width=HELP_WIDTH)
    return fenced("", shown.output.rstrip("\n"))


class _FixedTime(logging.Handler):
    """Writes records as if they had all been made at one moment."""

    def __init__(self, written: list[str]) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._written = written

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        record.created = 1_790_000_000.0
        self._written.append(self.format(record))


def _flag(name: str) -> str:
    (parameter,) = (parameter for parameter in cli.commands["serve"].params if parameter.name == name)
    if isinstance(parameter, click.Argument):
        return "`MODEL …` (arguments)"
    return ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))


def _plain(default: Any) -> str:
    """A default as it would be written in the environment."""
    if not default and default is not False and default != 0:
        return "none"
    if isinstance(default, list):
        return f"`{','.join(default)}`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _exposed_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> list[str]:
    return [f"`{name}`" for name in family.samples[0].labels if name != "le"]
