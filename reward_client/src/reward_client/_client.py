"""The blocking client: public methods, arguments and documentation; the work is done elsewhere."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Literal, TypeVar

from reward_client import _calls
from reward_client._calls import Calls, Placed
from reward_client._exchange import Exchange
from reward_client._protocol import PairJob
from reward_client._ranking import after_failure, ranked
from reward_client._settings import CallOptions, Limits, RetryPolicy, Settings
from reward_client._sync import SyncDriver, Transport
from reward_client._wire import R
from reward_client.errors import RewardServerError
from reward_client.values import ModelInfo, PairLike, Prompt, RankReply, Result, ScoreReply, Tokenized

T = TypeVar("T")


class Client:
    """A client of one reward-server, safe to share between threads.

    Args:
        url: The server's address, such as `http://127.0.0.1:8000`, with a path prefix if it has one.
        api_key: Sent as a bearer token.
        model: The model to ask for; None leaves it to the server.
        timeout_s: The deadline of a whole call, retries included, unless the call gives its own `deadline_s`.
        retry_for_s: How long a failing request is tried again: longer than a server takes to restart.
        attempt_timeout_s: How long one attempt may take before it counts as failed.
        backoff_s: First and longest wait between two tries of a request.
        max_connections: The most connections, and so requests under way, of all calls together.
        max_requests_per_call: The most requests under way of one call.
        max_pairs_per_request: Larger jobs are split; pairs that share a prompt stay together if they can.
        max_bytes_per_request: As before, by the size of the pairs' JSON.
        truncation: `error`, `prompt_left`, `response_right` or `model`.
        priority: `interactive`, or `bulk` for trainers and other large jobs.
        run_id: A tag for the server's telemetry.
        rng: Source of jitter and request ids; for tests.
        transport: An httpx transport, such as `httpx.MockTransport`, in place of the network.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     reply = client.score([("What is 2+2?", "4"), ("What is 2+2?", "Four, I think.")])
        ...     best = client.rank("What is 2+2?", ["5", "It is 4."]).best
        >>> reply.scores
        [1.0, 14.0]
        >>> best
        1
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout_s: float = 600.0,
        retry_for_s: float = 150.0,
        attempt_timeout_s: float = 100.0,
        backoff_s: tuple[float, float] = (0.25, 5.0),
        max_connections: int = 64,
        max_requests_per_call: int = 8,
        max_pairs_per_request: int = 256,
        max_bytes_per_request: int = 4 * 1024 * 1024,
        truncation: str = "error",
        priority: str = "interactive",
        run_id: str | None = None,
        rng: random.Random | None = None,
        transport: Transport | None = None,
    ) -> None:
        settings = Settings(
            url=url,
            api_key=api_key,
            model=model,
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            retry=RetryPolicy(retry_for_s, *backoff_s),
            limits=Limits(max_pairs_per_request, max_bytes_per_request, max_requests_per_call),
            max_connections=max_connections,
            truncation=truncation,
            priority=priority,
            run_id=run_id,
        )
        self._settings = settings
        self._calls = Calls(settings, rng or random.Random())
        self._driver = SyncDriver(settings, transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url!r}, model={self._settings.model!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._driver.close()

    def score(
        self,
        pairs: Iterable[PairLike],
        *,
        on_error: Literal["raise", "return"] = "raise",
        deadline_s: float | None = None,
        explain: bool = False,
        normalize: str | None = None,
        fingerprint: str | None = None,
        allow_fingerprint_change: bool = False,
        model: str | None = None,
        truncation: str | None = None,
        priority: str | None = None,
    ) -> ScoreReply:
        """Scores pairs, however many, and returns one result for each, in order.

        Args:
            pairs: Each a tuple `(prompt, response)`, a `Pair`, or a mapping with its fields.
            on_error: `raise`, or `return` to get errors in the results, also if the server is gone.
            deadline_s: Seconds for the whole call; None is the client's `timeout_s`; `math.inf` is allowed.
            explain: Ask how each pair was read; the answer is in `Result.details`.
            normalize: A calibration artefact of the model; its value is in `Result.details`.
            fingerprint: Demand exactly these weights, template and numerics.
            allow_fingerprint_change: Accept scores of different fingerprints in one call.
            model: In place of the client's.
            truncation: In place of the client's.
            priority: In place of the client's.

        Raises:
            PairFailed: if a pair has no score; its `reply` holds the others.
            RequestRefused: if the server refuses the request as it is.
            FingerprintChanged: if the server's weights changed before the call was over.
            ServerUnavailable: if it could not be reached for `retry_for_s`.
            DeadlineExceeded: if the deadline passed.
        """
        options = CallOptions(
            on_error=on_error,
            deadline_s=deadline_s,
            explain=explain,
            normalize=normalize,
            fingerprint=fingerprint,
            allow_fingerprint_change=allow_fingerprint_change,
            model=model,
            truncation=truncation,
            priority=priority,
        )
        source = _calls.placed_by_prompt(pairs)
        job = self._calls.score(options, monotonic())
        return _calls.score_reply(job, list(self._run_job(job, source)), on_error)

    def stream(
        self,
        pairs: Iterable[PairLike],
        *,
        on_error: Literal["raise", "return"] = "raise",
        deadline_s: float | None = None,
        explain: bool = False,
        normalize: str | None = None,
        fingerprint: str | None = None,
        allow_fingerprint_change: bool = False,
        model: str | None = None,
        truncation: str | None = None,
        priority: str | None = None,
    ) -> Iterator[Result]:
        """Yields results as they finish; `Result.index` is the pair's place in the input.

        Takes what `score` takes. The input is read in the calling thread, at most two requests' worth of pairs
        ahead. After a broken connection only pairs without a result are sent again; none is yielded twice.

        Example:
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     sorted((r.index, r.score) for r in client.stream([("Hi", "Hello!"), ("Hi", "")]))
            [(0, 6.0), (1, 0.0)]
        """
        options = CallOptions(
            on_error=on_error,
            deadline_s=deadline_s,
            explain=explain,
            normalize=normalize,
            fingerprint=fingerprint,
            allow_fingerprint_change=allow_fingerprint_change,
            model=model,
            truncation=truncation,
            priority=priority,
        )
        return self._stream(_calls.placed(pairs), options)

    def rank(
        self,
        prompt: Prompt,
        responses: Sequence[str],
        top_n: int | None = None,
        *,
        on_failure: Literal["raise", "original_order"] = "raise",
        deadline_s: float | None = None,
        model: str | None = None,
        truncation: str | None = None,
        priority: str | None = None,
    ) -> RankReply:
        """Ranks responses to one prompt, best first; responses without a score are in `errors`, never ranked.

        Args:
            prompt: Text or messages.
            responses: The candidates.
            top_n: Return only so many.
            on_failure: With `original_order`, a server that cannot be reached gives the input's order, marked
                `degraded`, and no scores. For applications that must go on; never for training.
            deadline_s: As of `score`, like the rest.
            model: In place of the client's.
            truncation: In place of the client's.
            priority: In place of the client's.

        Raises:
            RewardServerError: as `score`; `PairFailed` only if no response has a score.
        """
        pairs = _calls.rank_pairs(prompt, responses, top_n, on_failure)
        try:
            reply = self.score(pairs, deadline_s=deadline_s, model=model, truncation=truncation, priority=priority)
        except RewardServerError as error:
            return after_failure(error, responses, top_n, on_failure)
        return ranked(reply, responses, top_n)

    def tokenize(
        self,
        pairs: Iterable[PairLike],
        *,
        deadline_s: float | None = None,
        model: str | None = None,
        truncation: str | None = None,
    ) -> tuple[Tokenized, ...]:
        """Returns how the server would read each pair, without scoring; an unreadable pair has an `error`."""
        options = CallOptions(deadline_s=deadline_s, model=model, truncation=truncation)
        source = _calls.placed_by_prompt(pairs)
        return _calls.in_order(list(self._run_job(self._calls.tokenize(options, monotonic()), source)))

    def models(self) -> tuple[ModelInfo, ...]:
        """Returns the loaded models."""
        return self._run_plain(self._calls.models(monotonic()))

    def info(self) -> Mapping[str, Any]:
        """Returns the server's settings, limits, device and numeric mode, as it tells them."""
        return self._run_plain(self._calls.info(monotonic()))

    def verify(self, *, model: str | None = None) -> Mapping[str, Any]:
        """Has the server score the model's golden pairs now, and returns its report."""
        return self._run_plain(self._calls.verify(monotonic(), model))

    def wait_ready(self, timeout_s: float = 150.0) -> None:
        """Returns when the server is ready to score.

        Raises:
            DeadlineExceeded: if it is not within `timeout_s`; the message holds the server's reason.
        """
        self._run_plain(self._calls.ready(monotonic(), timeout_s))

    def _stream(self, source: Placed, options: CallOptions) -> Iterator[Result]:
        for result in self._run_job(self._calls.stream(options, monotonic()), source):
            yield _calls.checked_result(result, options.on_error)

    def _run_plain(self, call: Exchange[T]) -> T:
        [result] = self._driver.run(call)
        return result

    def _run_job(self, job: PairJob[R], source: Placed) -> Iterator[R]:
        return self._driver.run(job, lambda: _calls.fill(job, source))
