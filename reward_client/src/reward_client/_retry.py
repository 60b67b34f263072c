"""When to try again: exponential waits with jitter, a server's `Retry-After`, and an end to it.

No clock and no sleep here: time is an argument, and so is the random generator.
"""

from __future__ import annotations

import random

from reward_client import errors
from reward_client._exchange import Failure
from reward_client._settings import RetryPolicy


class RetryState:
    """The failures in a row of one request."""

    def __init__(self, policy: RetryPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._num_failures = 0
        self.first_failure_at = 0.0

    def reset(self) -> None:
        """Notes progress: the next failure counts as the first."""
        self._num_failures = 0

    def next_try_at(self, now: float, retry_after_s: float | None) -> float | None:
        """Notes a failure and returns when to try again; None if that would be after `retry_for_s`.

        Waits grow from `first_wait_s` by doubling to `max_wait_s`, each shortened by up to a half at random,
        so that callers that failed together do not come back together.
        """
        if self._num_failures == 0:
            self.first_failure_at = now
        wait_s = min(self._policy.max_wait_s, self._policy.first_wait_s * 2.0 ** min(self._num_failures, 60))
        wait_s *= self._rng.uniform(0.5, 1.0)
        self._num_failures += 1
        if retry_after_s is not None:
            wait_s += min(retry_after_s, self._policy.max_retry_after_s)
        next_try_at = now + wait_s
        return next_try_at if next_try_at <= self.first_failure_at + self._policy.retry_for_s else None


def unavailable(failure: Failure, retry_for_s: float) -> errors.ServerUnavailable:
    """Returns the error for a request that was tried again for as long as the client is told to."""
    return errors.ServerUnavailable(
        f"gave up after trying again for {retry_for_s:g} s; last failure: {failure.message}",
        code=failure.code,
        status=failure.status,
        request_id=failure.request_id,
    )


def too_late(deadline_s: float, progress: str, last_failure: Failure | None) -> errors.DeadlineExceeded:
    """Returns the error for a call whose deadline passed, or would pass before the next try."""
    cause = f"; last failure: {last_failure.message}" if last_failure is not None else ""
    return errors.DeadlineExceeded(f"the call's deadline of {deadline_s:.3g} s passed {progress}{cause}")
