"""Logs: one JSON object a line through the standard logging module, and the observer that writes events.

No prompt or response text is written unless an event carries it (`log_text`). Newlines and control characters
of callers' tags are escaped by JSON, so nobody can forge a line.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Final, TextIO

from service.observability.events import (
    Event,
    FrameRun,
    PairFinished,
    QueueOpened,
    RequestFinished,
    RequestRefused,
)

LOGGER_NAME: Final = "reward_server.events"

PROBE_ROUTES: Final = frozenset({"/livez", "/readyz", "/health", "/metrics"})
"""Asked every few seconds by machines: written at DEBUG, or they drown everything else."""

_NAMES: Final = {
    RequestFinished: "request_finished",
    RequestRefused: "request_refused",
    PairFinished: "pair_finished",
    FrameRun: "frame_run",
}

_TO_JSON: Final = json.JSONEncoder(default=str).encode

_FIELDS: Final = {kind: tuple(each.name for each in fields(kind)) for kind in _NAMES}


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, logger, message, and the fields of an event."""

    def format(self, record: logging.LogRecord) -> str:
        """Renders the record; a traceback becomes the field `traceback`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line.update(fields)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _TO_JSON(line)


class LogObserver:
    """Writes finished and refused requests at INFO; pairs and frames, being many, at DEBUG."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger if logger is not None else logging.getLogger(LOGGER_NAME)

    def notify(self, event: Event) -> None:
        """Writes one event as one line."""
        if isinstance(event, QueueOpened):
            return
        level = _level_of(event)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, _NAMES[type(event)], extra={"fields": _fields_of(event)})


def configure_logging(level: str, stream: TextIO) -> None:
    """Sends all the process logs to `stream`, one JSON line a record; called once, by the entry point."""
    logging._srcfile = None  # as logging's HOWTO says: nobody asks where a line was written, nor from which thread
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _level_of(event: Event) -> int:
    match event:
        case RequestFinished(route=route) if route not in PROBE_ROUTES:
            return logging.INFO
        case RequestRefused(route=route) if route not in PROBE_ROUTES:
            return logging.INFO
        case PairFinished(rendered=str()):
            return logging.INFO
    return logging.DEBUG


def _fields_of(event: RequestFinished | RequestRefused | PairFinished | FrameRun) -> dict[str, object]:
    told = {name: getattr(event, name) for name in _FIELDS[type(event)]}
    if isinstance(event, PairFinished):
        told["timings"] = asdict(event.timings)
    if told.get("rendered") is None:
        told.pop("rendered", None)
    return told
