"""One line a record, JSON, without texts."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import pytest

from service.observability.events import Event, FrameRun, PairFinished, QueueOpened, RequestFinished, RequestRefused
from service.observability.logs import JsonFormatter, LogObserver, configure_logging
from service.types import ModelId, Timings

DEMO = ModelId("demo")
FINISHED = RequestFinished("id-1", "run\nforged", "POST", "/v1/score", 200, 0.25)
REFUSED = RequestRefused("id-1", "", "/v1/score", 413, "too_large", "too many")
PAIR = PairFinished(DEMO, "native", "", "score", 1.5, timings=Timings(1, 2, 3))


def written(events: list[Event], level: int) -> list[dict[str, Any]]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("test", level)
    logger.addHandler(handler)
    observer = LogObserver(logger)
    for event in events:
        observer.notify(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_finished_request_is_one_line_that_nobody_can_forge() -> None:
    (line,) = written([FINISHED], logging.INFO)

    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "test",
        "message": "request_finished",
        "request_id": "id-1",
        "run_id": "run\nforged",
        "method": "POST",
        "route": "/v1/score",
        "status": 200,
        "duration_s": 0.25,
    }


def test_at_info_requests_are_written_and_pairs_frames_and_probes_are_not() -> None:
    probe = RequestFinished("id-2", "", "GET", "/readyz", 200, 0.1)
    refused_probe = RequestRefused("id-2", "", "/metrics", 401, "unauthorized", "no key")
    frame = FrameRun(DEMO, 1, 2, 4, 0.5)
    queue = QueueOpened(DEMO, lambda: 0, lambda: 0)
    events: list[Event] = [FINISHED, REFUSED, PAIR, frame, probe, refused_probe, queue]

    assert [line["message"] for line in written(events, logging.INFO)] == ["request_finished", "request_refused"]
    assert len(written(events, logging.DEBUG)) == 6


def test_a_pair_is_written_with_its_text_only_if_it_carries_one() -> None:
    (without,) = written([PAIR], logging.DEBUG)
    with_text = PairFinished(DEMO, "native", "", "score", rendered="user: hi")

    assert "rendered" not in without
    assert without["timings"] == {"tokenize_s": 1, "queue_s": 2, "compute_s": 3}
    assert [line["rendered"] for line in written([with_text], logging.INFO)] == ["user: hi"]


def test_a_traceback_stays_on_its_line() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "request %s failed", ("id",), sys.exc_info())
    text = JsonFormatter().format(record)

    assert "\n" not in text
    assert json.loads(text)["message"] == "request id failed"
    assert "ValueError: bad" in json.loads(text)["traceback"]


@pytest.fixture
def root_logger() -> Any:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    yield root
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_everything_the_process_logs_goes_to_one_stream(root_logger: logging.Logger) -> None:
    stream = io.StringIO()
    configure_logging("warning", stream)
    logging.getLogger("anyone").warning("watch %s", "out")
    logging.getLogger("anyone").info("not this")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["watch out"]
