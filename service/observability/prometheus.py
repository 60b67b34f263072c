"""Metrics: all names, labels and buckets, and the only importer of `prometheus_client`.

Label rule: a label takes values from a set fixed at start-up (served models, route templates, error codes),
never from a caller's text; the run tag is therefore in the logs only. The registry is handed in, never the
global one, so two apps in one process do not meet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from service.observability.events import (
    SCORED,
    Event,
    FrameRun,
    PairFinished,
    QueueOpened,
    RequestFinished,
    RequestRefused,
)
from service.types import FRAME_OK

DURATION_BUCKETS_S: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
"""Half-decades from one warm CPU millisecond to the server's own bound of 100 s."""

FILL_BUCKETS: Final = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Fine near 1: a well-fed engine should live there."""

SCORE_BUCKETS: Final = (-20, -10, -5, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 5, 10, 20)
"""Raw rewards of public models lie within about 20 of zero, most within 5. (No `_sum` is exposed: it could fall.)"""


class PrometheusObserver:
    """Counts events into its own registry and renders the text of `/metrics`."""

    content_type: Final = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry if registry is not None else CollectorRegistry()
        # By the label rule there are few. `labels` takes a lock and six calls, this takes one, 16 times a request.
        self._of: Callable[..., Any] = functools.cache(lambda metric, *labels: metric.labels(*labels))
        self._create_request_metrics()
        self._create_pair_metrics()
        self._create_frame_metrics()

    def exposition(self) -> bytes:
        """Renders all metrics in Prometheus' text format (`content_type` names its version)."""
        return generate_latest(self._registry)

    def notify(self, event: Event) -> None:
        """Counts one event."""
        match event:
            case RequestFinished():
                self._of(self._requests, event.route, str(event.status)).inc()
                self._of(self._request_s, event.route).observe(event.duration_s)
            case RequestRefused():
                self._of(self._refusals, event.route, event.code).inc()
            case PairFinished():
                self._count_pair(event)
            case FrameRun():
                self._count_frame(event)
            case QueueOpened():
                self._queue_pairs.labels(event.model).set_function(event.num_pairs)
                self._queue_tokens.labels(event.model).set_function(event.num_tokens)
                self._kept_tokens.labels(event.model).set_function(event.num_kept_tokens)
                self._evicted_tokens.labels(event.model).set_function(event.num_evicted_tokens)
                self._parked.labels(event.model).set_function(event.num_parked)

    def _count_pair(self, event: PairFinished) -> None:
        self._of(self._pairs, event.model, event.outcome).inc()
        self._of(self._tokens, event.model, "computed").inc(event.computed_tokens)
        self._of(self._tokens, event.model, "reused").inc(event.reused_tokens)
        self._of(self._truncated, event.model).inc(event.truncated_tokens)
        self._of(self._duplicates, event.model).inc(int(event.is_duplicate))
        if event.outcome == SCORED and event.score is not None:
            self._of(self._scores, event.model).observe(event.score)
            self._of(self._tokenize_s, event.model).observe(event.timings.tokenize_s)
            self._of(self._queue_s, event.model).observe(event.timings.queue_s)
            self._of(self._compute_s, event.model).observe(event.timings.compute_s)

    def _count_frame(self, event: FrameRun) -> None:
        self._of(self._frames, event.model, event.outcome).inc()
        if event.outcome != FRAME_OK:
            return
        self._of(self._frame_s, event.model).observe(event.duration_s)
        self._of(self._frame_pairs, event.model).inc(event.num_pairs)
        self._of(self._tokens, event.model, "padding").inc(max(0, event.num_rows - event.num_tokens))
        if event.num_rows > 0:
            self._of(self._frame_fill, event.model).observe(event.num_tokens / event.num_rows)

    def _create_request_metrics(self) -> None:
        self._requests = self._counter("requests", "HTTP requests by route and status.", "route", "status")
        self._request_s = self._histogram(
            "request_seconds", "Wall seconds of an HTTP request.", DURATION_BUCKETS_S, "route"
        )
        self._refusals = self._counter("refusals", "Requests answered with an error.", "route", "code")

    def _create_pair_metrics(self) -> None:
        self._pairs = self._counter("pairs", "Pairs by outcome: score or error code.", "model", "outcome")
        self._tokens = self._counter("tokens", "Tokens computed, reused, or added as padding.", "model", "kind")
        self._truncated = self._counter("truncated_tokens", "Tokens removed by truncation.", "model")
        self._duplicates = self._counter("duplicate_pairs", "Pairs answered by an identical one.", "model")
        self._tokenize_s = self._seconds("tokenize_seconds", "Seconds a scored pair was tokenized.")
        self._queue_s = self._seconds("queue_seconds", "Seconds a scored pair waited in line.")
        self._compute_s = self._seconds("compute_seconds", "Seconds of the frames of a scored pair.")
        self._scores = self._histogram("score", "Raw scores.", SCORE_BUCKETS, "model")

    def _create_frame_metrics(self) -> None:
        self._frames = self._counter(
            "frames", "Forward passes by outcome: ok, prefix_lost or error code.", "model", "outcome"
        )
        self._frame_pairs = self._counter("frame_pairs", "Pairs answered by frames.", "model")
        self._frame_s = self._seconds("frame_seconds", "Wall seconds of a forward pass.")
        self._frame_fill = self._histogram(
            "frame_fill_ratio", "Share of a frame's rows that are real tokens.", FILL_BUCKETS, "model"
        )
        self._queue_pairs = self._gauge("queue_pairs", "Pairs waiting for the engine.")
        self._queue_tokens = self._gauge("queue_tokens", "Tokens waiting for the engine.")
        self._kept_tokens = self._gauge("prefix_cache_tokens", "Tokens of prompts whose keys and values are kept.")
        self._evicted_tokens = self._gauge("prefix_cache_evicted_tokens", "Tokens evicted from it since the start.")
        self._parked = self._gauge("parked_requests", "Bulk requests waiting for room in a full queue.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"reward_server_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"reward_server_{name}", text, labels, buckets=buckets, registry=self._registry)

    def _seconds(self, name: str, text: str) -> Histogram:
        return self._histogram(name, text, DURATION_BUCKETS_S, "model")

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"reward_server_{name}", text, ("model",), registry=self._registry)
