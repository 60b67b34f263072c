"""The protocol of calls that take pairs: what to send, what a reply means, when to try again, when to stop.

No I/O, no clock, no tasks: pairs and events go in with the time, sends and results come out. The promise kept here:
every pair added gets exactly one result, or the call raises; a number comes from a whole, well-formed reply of the
expected fingerprint and from nowhere else.

A request that failed keeps its place among the `max_requests` while it waits for its next try. So an outage is met by
a handful of tries every few seconds, however large the job, and memory stays bounded.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Generic

from reward_client import _json, _wire, errors
from reward_client._exchange import Event, Failure, Line, Lost, Outgoing, Reply, Send, StreamEnd
from reward_client._failures import read_failure, read_pair_error
from reward_client._identity import ServerIdentity
from reward_client._pairs import EncodedPair, encode
from reward_client._requests import RequestBuilder
from reward_client._retry import RetryState, too_late, unavailable
from reward_client._settings import CallOptions, Settings
from reward_client._splitting import take_request
from reward_client._wire import Endpoint, R
from reward_client._work import Work
from reward_client.values import Pair, PairError


class PairJob(Generic[R]):
    """One call of `score`, `stream` or `tokenize`; an `Exchange` that is also given pairs.

    Args:
        endpoint: Where pairs go and how results are read.
        is_streaming: Whether to ask for results one line each, as they finish.
        now: The time of the driver's clock.
        rng: Source of jitter and request ids.
    """

    def __init__(
        self,
        endpoint: Endpoint[R],
        settings: Settings,
        options: CallOptions,
        *,
        is_streaming: bool,
        now: float,
        rng: random.Random,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._options = options
        self._is_streaming = is_streaming
        self._rng = rng
        self._started_at = now
        self._deadline_at = now + (settings.timeout_s if options.deadline_s is None else options.deadline_s)
        self._is_input_open = True
        self._waiting: deque[EncodedPair] = deque()
        self._works: list[Work[R]] = []
        self._results: list[R] = []
        self._num_attempts = 0
        self._num_answered = 0
        self._paused_until = -math.inf
        self._last_success_at = -math.inf
        self._last_failure: Failure | None = None
        self._abandoned: PairError | None = None
        self._identity = ServerIdentity(options)
        self._requests = RequestBuilder(
            endpoint.path,
            settings,
            options,
            call_id=f"{rng.getrandbits(64):016x}",
            deadline_at=self._deadline_at,
        )

    # What the driver asks.

    @property
    def is_done(self) -> bool:
        """Whether every pair has its result and no more pairs will come."""
        return not (self._is_unfinished or self._results)

    @property
    def _is_unfinished(self) -> bool:
        return bool(self._is_input_open or self._waiting or self._works)

    @property
    def wants_pairs(self) -> bool:
        """Whether to add pairs: enough for two requests, so that groups can be seen, and no more."""
        num_held = len(self._waiting) + len(self._results)
        return self._is_input_open and num_held < 2 * self._settings.limits.max_pairs

    @property
    def wake_at(self) -> float:
        """When `tick` and `take_sends` have something to do without an event."""
        moments = [max(work.try_at, self._paused_until) for work in self._works if work.attempt == 0]
        if self._waiting and self._has_room:
            moments.append(self._paused_until)
        return min([self._deadline_at, *moments])

    @property
    def identity(self) -> ServerIdentity:
        """What the server has said of itself and of the cost."""
        return self._identity

    # What the driver tells.

    def add(self, index: int, pair: Pair) -> None:
        """Adds a pair, `index` being its place in the caller's input.

        Raises:
            InvalidPair: if it cannot be written as JSON.
        """
        encoded = encode(pair, index)
        if self._abandoned is not None:
            self._answer(self._endpoint.fail(encoded, self._abandoned))
        else:
            self._waiting.append(encoded)

    def close_input(self) -> None:
        """Says that no more pairs will come."""
        self._is_input_open = False

    def take_sends(self, now: float) -> list[Send]:
        """Returns the attempts to start now: those whose wait is over, then new ones while there is room."""
        if now < self._paused_until:
            return []
        due = [work for work in self._works if work.attempt == 0 and work.try_at <= now]
        while self._waiting and self._has_room:
            is_opening = self._must_learn_fingerprint
            pairs = [] if is_opening else take_request(self._waiting, self._settings.limits)
            work: Work[R] = Work(pairs, RetryState(self._settings.retry, self._rng))
            self._works.append(work)
            due.append(work)
        return [self._begin(work) for work in due]

    def take_results(self) -> list[R]:
        """Returns the results since the last time, in the order they came."""
        results, self._results = self._results, []
        return results

    def tick(self, now: float) -> None:
        """Ends the call if its deadline has passed.

        Raises:
            DeadlineExceeded: if it has, and errors are not to be returned.
        """
        if now >= self._deadline_at and self._is_unfinished and self._abandoned is None:
            error = self._deadline_error()
            if self._options.on_error == "raise":
                raise error
            self._abandon(PairError(error.code, error.message, retryable=True))

    def feed(self, event: Event, now: float) -> None:
        """Takes in what came of an attempt. Events of attempts that are over are ignored.

        Raises:
            RewardServerError: if the call is over without success.
        """
        work = next((work for work in self._works if work.attempt == event.attempt), None)
        if work is None:
            return
        try:
            failure = self._digest(work, event, now)
        except _json.MalformedReply as error:
            failure = Failure("bad_reply", str(error))
        if failure is None:
            return
        if work.is_settled:  # only the stream's last line is missing, and no result depends on it
            self._works.remove(work)
        else:
            self._try_again(work, failure, now)

    # Sending.

    @property
    def _must_learn_fingerprint(self) -> bool:
        """A stream hands out results before it hears the fingerprint: so it asks first, with no pairs."""
        return self._is_streaming and self._identity.must_be_learnt

    @property
    def _has_room(self) -> bool:
        """Whether one more request may begin; the one that asks for the fingerprint goes alone."""
        return len(self._works) < (1 if self._must_learn_fingerprint else self._settings.limits.max_requests)

    def _begin(self, work: Work[R]) -> Send:
        self._num_attempts += 1
        work.begin(self._num_attempts)
        return Send(work.attempt, partial(self._build, work.attempt, tuple(work.pairs)))

    def _build(self, attempt: int, pairs: tuple[EncodedPair, ...], now: float) -> Outgoing:
        is_streaming = self._is_streaming and bool(pairs)
        return self._requests.build(attempt, pairs, self._identity.pinned, is_streaming, now)

    # Reading.

    def _digest(self, work: Work[R], event: Event, now: float) -> Failure | None:
        """Takes in one event; returns the failure if the attempt has failed and may be tried again."""
        if isinstance(event, Lost):
            return Failure(event.code, event.reason)
        if isinstance(event, Line):
            return self._digest_line(work, _json.read_object(event.data), now)
        if isinstance(event, StreamEnd):
            return self._settle(work, now)
        return self._digest_reply(work, event, now)

    def _digest_reply(self, work: Work[R], reply: Reply, now: float) -> Failure | None:
        if reply.status != 200:
            return self._identity.passing(read_failure(reply))
        body = _json.read_object(reply.body)
        envelope = _wire.read_envelope(body, has_fingerprint=self._endpoint.has_fingerprint)
        placed = _wire.read_results(body, work.pairs, self._endpoint)
        self._identity.note(envelope)
        for place, result in placed:
            self._place(work, place, result, now)
        return self._settle(work, now)

    def _digest_line(self, work: Work[R], body: Mapping[str, object], now: float) -> Failure | None:
        if "index" not in body and body.get("error") is not None:
            error = read_pair_error(body["error"])
            if error.retryable:
                return Failure(error.code, error.message)
            raise errors.RequestRefused(error.message, code=error.code)
        self._identity.note(_wire.read_envelope(body, has_fingerprint=False))
        if "index" in body:
            place, result = _wire.read_placed(body, work.pairs, self._endpoint)
            if place not in work.unanswered:
                raise _json.MalformedReply(f"result {place} came twice")
            self._place(work, place, result, now)
        return None

    def _place(self, work: Work[R], place: int, result: R, now: float) -> None:
        pair = work.unanswered.pop(place)
        if result.error is not None and result.error.retryable:
            work.failed.append((pair, result))
            return
        self._answer(result)
        self._last_success_at = now
        work.retry.reset()

    def _settle(self, work: Work[R], now: float) -> Failure | None:
        """Ends an attempt that came to its proper end."""
        if work.unanswered:
            return Failure("bad_reply", f"the reply ended with {len(work.unanswered)} result(s) missing")
        if work.failed:
            error = work.failed[-1][1].error
            assert error is not None
            return Failure(error.code, error.message)
        self._last_success_at = now
        self._works.remove(work)
        return None

    def _answer(self, result: R) -> None:
        self._num_answered += 1
        self._results.append(result)

    # Failing.

    def _try_again(self, work: Work[R], failure: Failure, now: float) -> None:
        self._last_failure = failure
        try_at = work.retry.next_try_at(now, failure.retry_after_s)
        if try_at is None or try_at >= self._deadline_at:
            self._give_up(work, failure, is_late=try_at is not None)
            return
        if failure.retry_after_s is not None:  # the server speaks for itself, not for this request alone
            self._paused_until = max(self._paused_until, try_at)
        work.end(try_at)

    def _give_up(self, work: Work[R], failure: Failure, *, is_late: bool) -> None:
        if not work.unanswered and work.failed:  # the server answered each pair: its own words stand
            self._works.remove(work)
            for _, result in work.failed:
                self._answer(result)
            return
        if self._options.on_error == "raise":
            raise (self._deadline_error() if is_late else unavailable(failure, self._settings.retry.retry_for_s))
        error = PairError(failure.code, failure.message, retryable=True)
        if self._last_success_at < work.retry.first_failure_at:
            self._abandon(error)
            return
        self._works.remove(work)
        for pair in work.unsettled:
            self._answer(self._endpoint.fail(pair, error))

    def _abandon(self, error: PairError) -> None:
        """Gives every pair without a result, now or later, this error."""
        self._abandoned = error
        pairs = [pair for work in self._works for pair in work.unsettled] + list(self._waiting)
        self._works.clear()
        self._waiting.clear()
        for pair in pairs:
            self._answer(self._endpoint.fail(pair, error))

    def _deadline_error(self) -> errors.DeadlineExceeded:
        progress = f"when {self._num_answered} pair(s) had their results"
        return too_late(self._deadline_at - self._started_at, progress, self._last_failure)
