"""The protocol of calls that are one request and one reply: models, info, verify, and waiting for readiness.

An `Exchange` as `PairJob` is, with the same rules for what is tried again, and no I/O either.
"""

from __future__ import annotations

import math
import random
from typing import Callable, Generic, TypeVar

from reward_client._exchange import Event, Failure, Lost, Outgoing, Reply, Send
from reward_client._failures import read_failure
from reward_client._json import MalformedReply
from reward_client._requests import attempt_timeout_s, headers_of
from reward_client._retry import RetryState, too_late, unavailable
from reward_client._settings import RetryPolicy, Settings

T = TypeVar("T")


class PlainCall(Generic[T]):
    """One request, sent until it is answered.

    Args:
        method: `GET` or `POST`.
        path: The route, with its leading slash.
        body: JSON, or nothing.
        read: From the body of a 200 to the result; raises `MalformedReply`.
        retry: How long to try.
        deadline_s: Seconds from `now` until the call is given up.
    """

    def __init__(
        self,
        method: str,
        path: str,
        body: bytes,
        read: Callable[[bytes], T],
        *,
        settings: Settings,
        retry: RetryPolicy,
        deadline_s: float,
        now: float,
        rng: random.Random,
    ) -> None:
        self._method, self._path, self._body, self._read = method, path, body, read
        self._settings = settings
        self._retry_for_s = retry.retry_for_s
        self._retry = RetryState(retry, rng)
        self._deadline_s = deadline_s
        self._deadline_at = now + deadline_s
        self._call_id = f"{rng.getrandbits(64):016x}"
        self._attempt = 0
        self._is_under_way = False
        self._try_at = -math.inf
        self._results: list[T] = []
        self._has_result = False
        self._last_failure: Failure | None = None

    @property
    def is_done(self) -> bool:
        """Whether the result came and was taken."""
        return self._has_result and not self._results

    @property
    def wake_at(self) -> float:
        """The next try, or the deadline."""
        return self._deadline_at if self._is_under_way else min(self._deadline_at, self._try_at)

    def tick(self, now: float) -> None:
        """Ends the call if its deadline has passed.

        Raises:
            DeadlineExceeded: if it has.
        """
        if now >= self._deadline_at and not self._has_result:
            raise too_late(self._deadline_s, "without an answer", self._last_failure)

    def take_sends(self, now: float) -> list[Send]:
        """Returns the one attempt, if it is time for it."""
        if self._is_under_way or self._has_result or now < self._try_at:
            return []
        self._is_under_way = True
        self._attempt += 1
        return [Send(self._attempt, self._build)]

    def take_results(self) -> list[T]:
        """Returns the result once."""
        results, self._results = self._results, []
        return results

    def feed(self, event: Event, now: float) -> None:
        """Takes in what came of the attempt.

        Raises:
            RewardServerError: if the call is over without success.
        """
        failure = self._digest(event)
        self._is_under_way = False
        if failure is None:
            return
        self._last_failure = failure
        try_at = self._retry.next_try_at(now, failure.retry_after_s)
        if try_at is None:
            raise unavailable(failure, self._retry_for_s)
        if try_at >= self._deadline_at:
            raise too_late(self._deadline_s, "without an answer", failure)
        self._try_at = try_at

    def _digest(self, event: Event) -> Failure | None:
        if isinstance(event, Lost):
            return Failure(event.code, event.reason)
        assert isinstance(event, Reply), "a plain call never streams"
        if event.status != 200:
            found = read_failure(event)
            if isinstance(found, Failure):
                return found
            raise found
        try:
            self._results = [self._read(event.body)]
        except MalformedReply as error:
            return Failure("bad_reply", str(error))
        self._has_result = True
        return None

    def _build(self, now: float) -> Outgoing:
        timeout_s = attempt_timeout_s(self._settings, self._deadline_at, now)
        request_id = f"{self._call_id}-{self._attempt}"
        headers = headers_of(self._settings, request_id, "application/json", has_body=bool(self._body))
        return Outgoing(self._method, self._path, headers, self._body, timeout_s, is_streaming=False)
