"""Best of n: draws responses from any sampler in rounds, scores each round, keeps the best.

With rounds, a `stop` hook may end the drawing early; it sees the ranking so far. Scores and order are the client's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from typing import Callable, Union

from reward_client._async_client import AsyncClient
from reward_client._calls import ON_FAILURE
from reward_client._client import Client
from reward_client._ranking import after_failure, ranked
from reward_client._settings import check_choice, check_least
from reward_client.errors import InvalidPair, PairFailed, RewardServerError
from reward_client.values import Pair, Prompt, RankReply, Result, ScoreReply, Usage

Generate = Callable[[Prompt, int], Iterable[str]]
"""`generate(prompt, count)` returns `count` new responses."""
GenerateAsync = Callable[[Prompt, int], Union[Iterable[str], Awaitable[Iterable[str]]]]
Stop = Callable[[RankReply], bool]
"""Asked after each round but the last; True ends the drawing."""


@dataclass(frozen=True)
class BestOfN:
    """What came of it.

    Attributes:
        response: The best response that has a score; the first that was drawn if none has.
        ranking: All responses that have a score, best first, with the model's errors in `errors`; if there is no
            score, because the server could not be reached, all in the order of drawing.
        responses: All that were drawn, in the order of drawing; indices in `ranking` count in it.
        stopped_early: Whether `stop` ended it before n.
        degraded: Whether the server could not be reached, so that some or all responses have no score.
    """

    response: str
    ranking: RankReply
    responses: tuple[str, ...]
    stopped_early: bool
    degraded: bool

    @property
    def score(self) -> float | None:
        """The score of the best response; None only if degraded, and then not always."""
        return self.ranking.results[0].score

    @property
    def margin(self) -> float | None:
        """Best score minus second best; None for fewer than two scores."""
        return self.ranking.margin


def best_of_n(
    generate: Generate,
    n: int,
    *,
    prompt: Prompt,
    client: Client,
    round_size: int | None = None,
    stop: Stop | None = None,
    on_failure: str = "raise",
) -> BestOfN:
    """Draws up to `n` responses to a prompt and returns the best.

    Args:
        generate: `generate(prompt, count)` returns `count` responses; called once for each round.
        n: The most responses to draw.
        prompt: Text or messages.
        client: Scores each round.
        round_size: Responses in a round; None draws all `n` in one.
        stop: Asked after each round but the last with the ranking so far, such as
            `lambda ranking: ranking.results[0].score > 3`. Never asked before a response has a score.
        on_failure: With `original_order`, a server that cannot be reached ends the drawing; the best response that
            has a score is returned, or the first drawn if none has, marked `degraded`. For applications that must go
            on; never for training.

    Raises:
        RewardServerError: as `Client.score`; `PairFailed` only if no response has a score.
        InvalidPair: if `generate` returns another number of responses.
    """
    rounds = _Rounds(prompt, n, round_size, stop, on_failure)
    while rounds.wanted:
        pairs = rounds.drawn(generate(prompt, rounds.wanted))
        try:
            rounds.scored(client.score(pairs))
        except RewardServerError as error:
            rounds.failed(error)
    return rounds.result()


async def best_of_n_async(
    generate: GenerateAsync,
    n: int,
    *,
    prompt: Prompt,
    client: AsyncClient,
    round_size: int | None = None,
    stop: Stop | None = None,
    on_failure: str = "raise",
) -> BestOfN:
    """As `best_of_n`, awaited; `generate` may be asynchronous."""
    rounds = _Rounds(prompt, n, round_size, stop, on_failure)
    while rounds.wanted:
        responses = generate(prompt, rounds.wanted)
        pairs = rounds.drawn(await responses if isinstance(responses, Awaitable) else responses)
        try:
            rounds.scored(await client.score(pairs))
        except RewardServerError as error:
            rounds.failed(error)
    return rounds.result()


@dataclass
class _Rounds:
    """The bookkeeping of both functions; no I/O."""

    prompt: Prompt
    n: int
    round_size: int | None
    stop: Stop | None
    on_failure: str
    responses: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    last: ScoreReply = field(default_factory=lambda: ScoreReply(()))
    stopped_early: bool = False
    unreachable: RankReply | None = None

    def __post_init__(self) -> None:
        check_least("n", self.n, 1)
        check_least("round_size", 1 if self.round_size is None else self.round_size, 1)
        check_choice("on_failure", self.on_failure, ON_FAILURE)

    @property
    def wanted(self) -> int:
        """How many responses to draw now; 0 if it is over."""
        if self.stopped_early or self.unreachable is not None:
            return 0
        missing = self.n - len(self.responses)
        return missing if self.round_size is None else min(self.round_size, missing)

    def drawn(self, responses: Iterable[str]) -> list[Pair]:
        """Takes in one round's responses; returns their pairs."""
        if isinstance(responses, str):
            raise InvalidPair("generate returned one text; it must return a list of texts")
        new = list(responses)
        if len(new) != self.wanted:
            raise InvalidPair(f"generate returned {len(new)} responses; {self.wanted} were asked for")
        self.responses += new
        return [Pair(self.prompt, response) for response in new]

    def scored(self, reply: ScoreReply) -> None:
        """Takes in the scores of one round."""
        start = len(self.results)
        self.results += [_moved(result, start) for result in reply.results]
        self.usage += reply.usage
        self.last = reply
        ranking = self._ranking()
        if self.wanted and self.stop is not None and ranking.results:
            self.stopped_early = self.stop(ranking)

    def failed(self, error: RewardServerError) -> None:
        """Takes in a failure: responses that the model cannot score are left out; no server ends it, or raises."""
        reply = error.reply if isinstance(error, PairFailed) else None
        if reply is not None and (not error.retryable or len(reply.failed) < len(reply.results)):
            self.scored(reply)
            return
        self.unreachable = after_failure(error, self.responses, None, self.on_failure)

    def result(self) -> BestOfN:
        """Returns what came of it.

        Raises:
            PairFailed: if the model could score no response.
        """
        ranking = self._ranking()
        if not ranking.results and self.unreachable is not None:
            ranking = self.unreachable
        if not ranking.results:
            raise PairFailed(ranking.errors, self._reply())
        best = ranking.results[0].response
        is_degraded = self.unreachable is not None
        return BestOfN(best, ranking, tuple(self.responses), self.stopped_early, is_degraded)

    def _ranking(self) -> RankReply:
        return ranked(self._reply(), self.responses, None)

    def _reply(self) -> ScoreReply:
        return ScoreReply(tuple(self.results), self.last.model, self.last.fingerprint, usage=self.usage)


def _moved(result: Result, start: int) -> Result:
    """Returns a result whose index counts in all responses that were drawn."""
    return replace(result, index=start + result.index)
