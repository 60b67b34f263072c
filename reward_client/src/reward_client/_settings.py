"""What a client is told once, and what one call adds to it: frozen values, checked when they are made.

Knows nothing of HTTP libraries or sockets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from reward_client._version import __version__

TRUNCATIONS = ("error", "prompt_left", "response_right", "model")
PRIORITIES = ("interactive", "bulk")
ON_ERROR = ("raise", "return")

KEEPALIVE_EXPIRY_S = 4.0
"""Idle connections are dropped before uvicorn, after 5 s, drops them: no request meets a closing one."""

LONGEST_WAIT_S = 3600.0
"""Locks and event loops cannot wait for an infinite deadline; waking once an hour costs nothing."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a failing request is tried again.

    Attributes:
        retry_for_s: Seconds without any progress after which a request is given up.
        first_wait_s: The wait after the first failure; it doubles with each further one.
        max_wait_s: The longest wait. Short enough that a restarted server is found soon, long enough that
            hundreds of waiting trainer ranks do not keep it from starting.
        max_retry_after_s: Caps what a server may ask for; only polling for readiness sets it.
    """

    retry_for_s: float = 150.0
    first_wait_s: float = 0.25
    max_wait_s: float = 5.0
    max_retry_after_s: float = math.inf


@dataclass(frozen=True)
class Limits:
    """How a job is cut into requests.

    Attributes:
        max_pairs: The most pairs in one request.
        max_bytes: The most bytes of pairs in one request; a longer single pair goes alone.
        max_requests: Requests of one call that are under way at a time.
    """

    max_pairs: int = 256
    max_bytes: int = 4 * 1024 * 1024
    max_requests: int = 8


@dataclass(frozen=True)
class Settings:
    """Everything that a client is told at its making; see `Client` for what each means."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    timeout_s: float = 600.0
    attempt_timeout_s: float = 100.0
    retry: RetryPolicy = RetryPolicy()
    limits: Limits = Limits()
    max_connections: int = 64
    truncation: str = "error"
    priority: str = "interactive"
    run_id: str | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url is {self.url!r}; it must start with http:// or https://")
        if "?" in self.url or "#" in self.url:
            raise ValueError("url must end before any ? or #; the key has its own argument, api_key")
        check_choice("truncation", self.truncation, TRUNCATIONS)
        check_choice("priority", self.priority, PRIORITIES)
        check_least("timeout_s", self.timeout_s, 0.001)
        check_least("attempt_timeout_s", self.attempt_timeout_s, 0.001)
        if self.attempt_timeout_s > 86_400:
            raise ValueError(f"attempt_timeout_s is {self.attempt_timeout_s!r}; the server takes at most a day")
        check_least("retry_for_s", self.retry.retry_for_s, 0)
        check_least("max_connections", self.max_connections, 1)
        check_least("max_pairs_per_request", self.limits.max_pairs, 1)
        check_least("max_bytes_per_request", self.limits.max_bytes, 1)
        check_least("max_requests_per_call", self.limits.max_requests, 1)
        for name, value in (("api_key", self.api_key), ("run_id", self.run_id)):
            if value is not None and not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name} must be printable ASCII, because it is sent as a header")

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        headers = {"user-agent": f"reward-client/{__version__}"}
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key}"
        if self.run_id is not None:
            headers["x-run-id"] = self.run_id
        return headers


@dataclass(frozen=True)
class CallOptions:
    """What one call adds to or changes in the client's settings; None keeps the client's own."""

    on_error: str = "raise"
    deadline_s: float | None = None
    explain: bool = False
    normalize: str | None = None
    fingerprint: str | None = None
    allow_fingerprint_change: bool = False
    model: str | None = None
    truncation: str | None = None
    priority: str | None = None

    def __post_init__(self) -> None:
        check_choice("on_error", self.on_error, ON_ERROR)
        if self.deadline_s is not None:
            check_least("deadline_s", self.deadline_s, 0.001)
        if self.truncation is not None:
            check_choice("truncation", self.truncation, TRUNCATIONS)
        if self.priority is not None:
            check_choice("priority", self.priority, PRIORITIES)

    def fields(self, settings: Settings) -> dict[str, str | bool]:
        """Returns the body fields of every request of the call, without pairs, deadline and fingerprint."""
        fields: dict[str, str | bool] = {
            "truncation": self.truncation or settings.truncation,
            "priority": self.priority or settings.priority,
        }
        model = self.model or settings.model
        if model is not None:
            fields["model"] = model
        if self.explain:
            fields["explain"] = True
        if self.normalize is not None:
            fields["normalize"] = self.normalize
        return fields


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")


def check_least(name: str, value: float, least: float) -> None:
    """Raises ValueError unless `value` is a number of at least `least`."""
    if not value >= least:  # written so that NaN fails too
        raise ValueError(f"{name} is {value!r}; it must be at least {least}")
