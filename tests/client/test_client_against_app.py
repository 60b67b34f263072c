"""The asyncio client against the real HTTP edge in-process, with a model that scores by length."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from reward_client import AsyncClient, FingerprintMismatch, PairFailed, TooLarge, Unauthorized, UnknownModel
from reward_client.values import Pair
from service.api.app import create_app
from service.api.runtime import Progress, Runtime
from service.errors import EmptyPrompt, EngineFailure, InvalidInput
from service.observability.observers import Observer
from service.scoring.protocol import OutcomeStream
from service.settings import Settings
from service.types import (
    Conversation,
    EncodedPair,
    EngineInfo,
    Fingerprint,
    GoldenCheck,
    Health,
    ModelCard,
    ModelId,
    PairInput,
    PairOutcome,
    Reward,
    ScoreOptions,
    TokenIds,
    Truncation,
)

KEY = "k3y"
RESPONSES = ["a", "ccc", "", "bbb", "dd"]


class LengthModel:
    """Scores a response by its length; an empty prompt fails for good; each "flaky" response fails once."""

    def __init__(self) -> None:
        engine = EngineInfo("cpu", "test", {}, 64)
        self.card = ModelCard(ModelId("length"), Fingerprint("sha256:length"), 64, "len", "all", 0, engine)
        self._has_failed: set[str] = set()
        self.seen: list[ScoreOptions] = []

    def health(self) -> Health:
        return Health(is_ready=True)

    async def submit(self, pairs: Sequence[PairInput], options: ScoreOptions) -> OutcomeStream:
        self.seen.append(options)
        return self._outcomes(pairs)

    async def _outcomes(self, pairs: Sequence[PairInput]) -> AsyncGenerator[PairOutcome, None]:
        for index, pair in reversed(list(enumerate(pairs))):
            yield self._outcome(index, pair)

    def _outcome(self, index: int, pair: PairInput) -> PairOutcome:
        text = self._text(pair)
        if isinstance(pair, Conversation) and not pair.prompt[0].content:
            return PairOutcome(index, error=EmptyPrompt("the prompt is empty"))
        if text.startswith("flaky") and text not in self._has_failed:
            self._has_failed.add(text)
            return PairOutcome(index, error=EngineFailure("scripted"))
        return PairOutcome(index, reward=Reward(float(len(text))), encoded=EncodedPair((1, 2), (0,), (1,)))

    def _text(self, pair: PairInput) -> str:
        return pair.response if isinstance(pair, Conversation) else repr(pair)

    async def preview(self, pairs: Sequence[PairInput], truncation: Truncation) -> list[EncodedPair | InvalidInput]:
        return [EncodedPair((1, 2), (0,), (1,), rendered="[x]") for _ in pairs]

    async def verify(self) -> list[GoldenCheck]:
        return [GoldenCheck("one", 1.0, 1.0, 0.0)]


@asynccontextmanager
async def served(model: LengthModel, api_key: str = KEY, max_pairs: int = 4) -> AsyncIterator[AsyncClient]:
    """A client whose transport is the app."""
    settings = Settings(api_keys=(KEY,), max_pairs_per_request=8)

    @asynccontextmanager
    async def build(known: Settings, observer: Observer, progress: Progress) -> AsyncIterator[Runtime]:
        yield Runtime({model.card.model_id: model}, known)

    app = create_app(settings, build)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(
            "http://app.test",
            api_key=api_key,
            transport=transport,
            backoff_s=(0.001, 0.01),
            max_pairs_per_request=max_pairs,
            run_id="run-1",
        ) as client,
    ):
        if api_key == KEY:
            await client.wait_ready(10.0)
        yield client


async def test_every_pair_of_a_split_job_gets_its_score() -> None:
    pairs = [("p", "x" * length) for length in range(30)]

    async with served(LengthModel()) as client:
        reply = await client.score(pairs)
        streamed = [result async for result in client.stream(pairs)]

    assert reply.scores == [float(length) for length in range(30)]
    assert sorted((result.index, result.score) for result in streamed) == list(enumerate(reply.scores))
    assert (reply.model, reply.fingerprint) == ("length", "sha256:length")


async def test_pairs_that_fail_in_passing_are_scored_in_the_end() -> None:
    async with served(LengthModel()) as client:
        assert (await client.score([("p", "flaky one"), ("p", "x"), ("q", "flaky two")])).scores == [9.0, 1.0, 9.0]
        assert [result.score async for result in client.stream([("p", "flaky three")])] == [11.0]


async def test_a_pair_that_fails_for_good_says_why() -> None:
    async with served(LengthModel()) as client:
        with pytest.raises(PairFailed, match="empty_prompt: the prompt is empty") as raised:
            await client.score([("", "x"), ("p", "x")])

    assert not raised.value.retryable


async def test_the_clients_order_is_the_servers_order() -> None:
    async with served(LengthModel()) as client:
        ranking = await client.rank("p", RESPONSES)
        http = client._driver._http
        body = {"prompt": "p", "responses": RESPONSES, "return_responses": True}
        headers = {"authorization": f"Bearer {KEY}"}
        said = (await http.post("http://app.test/v1/rank", json=body, headers=headers)).json()

    places = [{"index": p.index, "rank": p.rank, "score": p.score, "response": p.response} for p in ranking.results]
    assert places == said["results"]
    assert (ranking.best, ranking.margin, []) == (said["best"], said["margin"], said["errors"])


async def test_every_form_of_a_pair_is_understood() -> None:
    pairs = [
        Pair([{"role": "user", "content": "p"}], "x", id="messages"),
        Pair(prompt_ids=[1, 2], response_ids=[3], id="ids"),
        Pair(rendered="[x]", id="rendered"),
    ]

    async with served(LengthModel()) as client:
        reply = await client.score(pairs, explain=True)

    assert [result.id for result in reply.results] == ["messages", "ids", "rendered"]
    assert reply.results[1].score == float(len(repr(TokenIds((1, 2), (3,)))))
    assert reply.results[0].details["ids"] == [1, 2]


async def test_options_arrive_with_a_deadline_and_the_run_id() -> None:
    model = LengthModel()

    async with served(model) as client:
        await client.score([("p", "x")], deadline_s=50.0, truncation="model", priority="bulk", explain=True)

    [options] = model.seen
    assert (options.truncation, options.priority, options.explain) == ("model", "bulk", True)
    assert options.run_id == "run-1"
    assert options.deadline_s is not None
    assert 0 < options.deadline_s < 50.0


async def test_the_servers_refusals_have_their_own_classes() -> None:
    async with served(LengthModel(), api_key="wrong") as client:
        with pytest.raises(Unauthorized):
            await client.score([("p", "x")])
    async with served(LengthModel()) as client:
        with pytest.raises(UnknownModel):
            await client.score([("p", "x")], model="other")
        with pytest.raises(FingerprintMismatch):
            await client.score([("p", "x")], fingerprint="sha256:other")
    async with served(LengthModel(), max_pairs=100) as client:
        with pytest.raises(TooLarge, match="max_pairs_per_request"):
            await client.score([("p", "x")] * 9)


async def test_the_other_routes_are_read() -> None:
    async with served(LengthModel()) as client:
        [tokenized] = await client.tokenize([("p", "x")])
        [model] = await client.models()
        report = await client.verify()
        info = await client.info()

    assert (tokenized.ids, tokenized.rendered) == ((1, 2), "[x]")
    assert (model.id, model.fingerprint, model.max_tokens) == ("length", "sha256:length", 64)
    assert report["ok"] is True
    assert "limits" in info
