"""The asyncio client: public methods, arguments and documentation; the work is done elsewhere."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Literal, TypeVar

from reward_client import _calls
from reward_client._async import AsyncDriver, Transport, feed
from reward_client._calls import Calls, Placed
from reward_client._exchange import Exchange
from reward_client._protocol import PairJob
from reward_client._ranking import after_failure, ranked
from reward_client._settings import CallOptions, Limits, RetryPolicy, Settings
from reward_client._wire import R
from reward_client.errors import RewardServerError
from reward_client.values import ModelInfo, PairLike, Prompt, RankReply, Result, ScoreReply, Tokenized

T = TypeVar("T")


class AsyncClient:
    """As `Client`, for asyncio: the same arguments and methods, awaited. One for each event loop.

    Thousands of calls at a time are fine; `max_connections` of their requests are under way at a time.

    Example:
        >>> async def main() -> list[float]:
        ...     async with AsyncClient("http://127.0.0.1:8000") as client:
        ...         return (await client.score([("What is 2+2?", "4")])).scores
        >>> asyncio.run(main())
        [1.0]
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
        self._driver = AsyncDriver(settings, transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url!r}, model={self._settings.model!r})"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self._driver.close()

    async def score(
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
        """As `Client.score`, awaited."""
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
        return _calls.score_reply(job, [result async for result in self._run_job(job, source)], on_error)

    def stream(
        self,
        pairs: Iterable[PairLike] | AsyncIterable[PairLike],
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
    ) -> AsyncIterator[Result]:
        """As `Client.stream`; the input may also be asynchronous, and is then read while results come.

        Pairs of an asynchronous input are sent as soon as a request may start, so that scoring overlaps with
        whatever makes them. Leave the loop early only inside `contextlib.aclosing`: it ends the requests.

        Example:
            >>> async def responses() -> AsyncIterator[tuple[str, str]]:
            ...     yield "Hi", "Hello!"
            ...     yield "Hi", ""
            >>> async def main() -> list[tuple[int, float | None]]:
            ...     async with AsyncClient("http://127.0.0.1:8000") as client:
            ...         return sorted([(r.index, r.score) async for r in client.stream(responses())])
            >>> asyncio.run(main())
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
        return self._stream(pairs, options)

    async def rank(
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
        """As `Client.rank`, awaited."""
        pairs = _calls.rank_pairs(prompt, responses, top_n, on_failure)
        try:
            reply = await self.score(
                pairs, deadline_s=deadline_s, model=model, truncation=truncation, priority=priority
            )
        except RewardServerError as error:
            return after_failure(error, responses, top_n, on_failure)
        return ranked(reply, responses, top_n)

    async def tokenize(
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
        job = self._calls.tokenize(options, monotonic())
        return _calls.in_order([result async for result in self._run_job(job, source)])

    async def models(self) -> tuple[ModelInfo, ...]:
        """Returns the loaded models."""
        return await self._run_plain(self._calls.models(monotonic()))

    async def info(self) -> Mapping[str, Any]:
        """Returns the server's settings, limits, device and numeric mode, as it tells them."""
        return await self._run_plain(self._calls.info(monotonic()))

    async def verify(self, *, model: str | None = None) -> Mapping[str, Any]:
        """Has the server score the model's golden pairs now, and returns its report."""
        return await self._run_plain(self._calls.verify(monotonic(), model))

    async def wait_ready(self, timeout_s: float = 150.0) -> None:
        """Returns when the server is ready to score.

        Raises:
            DeadlineExceeded: if it is not within `timeout_s`; the message holds the server's reason.
        """
        await self._run_plain(self._calls.ready(monotonic(), timeout_s))

    async def _stream(
        self, pairs: Iterable[PairLike] | AsyncIterable[PairLike], options: CallOptions
    ) -> AsyncIterator[Result]:
        job = self._calls.stream(options, monotonic())
        if isinstance(pairs, AsyncIterable):
            results = self._driver.run(job, feeder=partial(feed, job, pairs))
        else:
            results = self._run_job(job, _calls.placed(pairs))
        try:
            async for result in results:
                yield _calls.checked_result(result, options.on_error)
        finally:
            await results.aclose()

    async def _run_plain(self, call: Exchange[T]) -> T:
        [result] = [result async for result in self._driver.run(call)]
        return result

    def _run_job(self, job: PairJob[R], source: Placed) -> AsyncGenerator[R, None]:
        return self._driver.run(job, lambda: _calls.fill(job, source))
