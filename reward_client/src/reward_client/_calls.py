"""What both clients have in common: from arguments to an exchange, from results to a reply.

No I/O; the drivers add nothing but running the exchange.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable

from reward_client import _json, _wire, errors
from reward_client._pairs import as_pair, grouped_order, to_json
from reward_client._plain import PlainCall, T
from reward_client._protocol import PairJob
from reward_client._settings import CallOptions, RetryPolicy, Settings, check_choice, check_least
from reward_client._wire import Endpoint, R
from reward_client.values import ModelInfo, Pair, PairLike, Result, ScoreReply, Tokenized

Placed = Iterator[tuple[int, Pair]]
"""Pairs with their places in the caller's input."""

ON_FAILURE = ("raise", "original_order")


class Calls:
    """Makes the exchanges of one client."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        self.settings = settings
        self._rng = rng

    def score(self, options: CallOptions, now: float) -> PairJob[Result]:
        """A job whose results come a request at a time."""
        return self._job(_wire.SCORE, options, now, is_streaming=False)

    def stream(self, options: CallOptions, now: float) -> PairJob[Result]:
        """A job whose results come one by one, as they finish."""
        return self._job(_wire.SCORE, options, now, is_streaming=True)

    def tokenize(self, options: CallOptions, now: float) -> PairJob[Tokenized]:
        """A job that scores nothing."""
        return self._job(_wire.TOKENIZE, options, now, is_streaming=False)

    def models(self, now: float) -> PlainCall[tuple[ModelInfo, ...]]:
        """`GET /v1/models`."""
        return self._plain("GET", "/v1/models", lambda body: _wire.read_models(_json.read_json(body)), now)

    def info(self, now: float) -> PlainCall[Mapping[str, Any]]:
        """`GET /v1/info`."""
        return self._plain("GET", "/v1/info", _json.read_object, now)

    def verify(self, now: float, model: str | None) -> PlainCall[Mapping[str, Any]]:
        """`POST /v1/verify`."""
        name = model or self.settings.model
        body = to_json({} if name is None else {"model": name})
        return self._plain("POST", "/v1/verify", _json.read_object, now, body=body)

    def policy_rewards(self, now: float, queries: list[str], prompts: list[str]) -> PlainCall[list[float]]:
        """`POST /get_reward`: raw scores of text in the policy's template."""
        body = to_json({"query": queries, "prompts": prompts})
        return self._plain("POST", "/get_reward", lambda reply: _wire.read_rewards(reply, len(queries)), now, body=body)

    def ready(self, now: float, timeout_s: float) -> PlainCall[None]:
        """`GET /readyz` until it says so; polls at least once a second, whatever `Retry-After` says."""
        check_least("timeout_s", timeout_s, 0.001)
        polling = RetryPolicy(retry_for_s=math.inf, max_wait_s=1.0, max_retry_after_s=0.0)
        return self._plain("GET", "/readyz", _read_nothing, now, retry=polling, deadline_s=timeout_s)

    def _job(self, endpoint: Endpoint[R], options: CallOptions, now: float, *, is_streaming: bool) -> PairJob[R]:
        return PairJob(endpoint, self.settings, options, is_streaming=is_streaming, now=now, rng=self._rng)

    def _plain(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], T],
        now: float,
        *,
        body: bytes = b"",
        retry: RetryPolicy | None = None,
        deadline_s: float | None = None,
    ) -> PlainCall[T]:
        return PlainCall(
            method,
            path,
            body,
            read,
            settings=self.settings,
            retry=retry or self.settings.retry,
            deadline_s=self.settings.timeout_s if deadline_s is None else deadline_s,
            now=now,
            rng=self._rng,
        )


def placed(pairs: Iterable[PairLike]) -> Placed:
    """Yields pairs as they come, checked one by one."""
    return ((index, as_pair(given, index)) for index, given in enumerate(pairs))


def placed_by_prompt(pairs: Iterable[PairLike]) -> Placed:
    """Checks all pairs, then yields those with the same prompt one after the other."""
    checked = [pair for _, pair in placed(pairs)]
    return ((index, checked[index]) for index in grouped_order(checked))


def fill(job: PairJob[Any], source: Placed) -> None:
    """Adds the pairs that the job wants now, and says when there are no more."""
    while job.wants_pairs:
        following = next(source, None)
        if following is None:
            job.close_input()
        else:
            job.add(*following)


def in_order(results: list[R]) -> tuple[R, ...]:
    """Returns results in the order of the input."""
    return tuple(sorted(results, key=lambda result: result.index))


def score_reply(job: PairJob[Result], results: list[Result], on_error: str) -> ScoreReply:
    """Returns the reply of a whole job.

    Raises:
        PairFailed: if a pair has no score and `on_error` is `raise`.
    """
    envelope = job.identity.envelope
    reply = ScoreReply(
        in_order(results), envelope.model, envelope.fingerprint, job.identity.fingerprints, envelope.usage
    )
    if on_error == "raise" and reply.failed:
        raise errors.PairFailed(reply.failed, reply)
    return reply


def checked_result(result: Result, on_error: str) -> Result:
    """Returns a streamed result; raises `PairFailed` if it is an error and errors are to be raised."""
    if on_error == "raise" and result.error is not None:
        raise errors.PairFailed((result,))
    return result


def rank_pairs(prompt: Any, responses: Sequence[str], top_n: int | None, on_failure: str) -> list[Pair]:
    """Returns the pairs of a ranking, after checking its arguments."""
    check_choice("on_failure", on_failure, ON_FAILURE)
    if isinstance(responses, str):
        raise errors.InvalidPair("responses is one text; it must be a list of texts")
    if top_n is not None:
        check_least("top_n", top_n, 1)
    return [Pair(prompt, response) for response in responses]


def _read_nothing(body: bytes) -> None:
    return None
