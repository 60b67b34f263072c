"""Best of n, both clients, over a scripted server that scores by length."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from reward_client import AsyncClient, Client, InvalidPair, PairFailed, RankReply, ServerUnavailable, Unauthorized
from reward_client.adapters import BestOfN, best_of_n, best_of_n_async
from tests.client.both import KINDS, QUICK, transport_to
from tests.client.scripted_server import ScriptedServer, length_score

both_kinds = pytest.mark.parametrize("kind", KINDS)


class Sampler:
    """Gives prepared responses in order, and remembers how many it was asked for."""

    def __init__(self, responses: Sequence[str]) -> None:
        self._responses: Iterator[str] = iter(responses)
        self.asked: list[int] = []

    def __call__(self, prompt: Any, count: int) -> list[str]:
        self.asked.append(count)
        return [next(self._responses) for _ in range(count)]


def server_of(*script: str, **options: Any) -> ScriptedServer:
    return ScriptedServer(script, score=length_score, **options)


def best(kind: str, server: ScriptedServer, generate: Any, n: int, prompt: Any = "p", **options: Any) -> BestOfN:
    settings = {**QUICK, "transport": transport_to(server), **options.pop("client", {})}
    if kind == "sync":
        with Client("http://rewards.test", **settings) as client:
            return best_of_n(generate, n, prompt=prompt, client=client, **options)

    async def run() -> BestOfN:
        async with AsyncClient("http://rewards.test", **settings) as client:
            return await best_of_n_async(generate, n, prompt=prompt, client=client, **options)

    return asyncio.run(run())


@both_kinds
def test_the_best_comes_back_with_its_margin_and_all_others(kind: str) -> None:
    sampler = Sampler(["aa", "a", "aaaaa", "aaa"])

    chosen = best(kind, server_of("503", "lost"), sampler, 4)

    assert (chosen.response, chosen.score, chosen.margin) == ("aaaaa", 5.0, 2.0)
    assert [place.index for place in chosen.ranking.results] == [2, 3, 0, 1]
    assert chosen.responses == ("aa", "a", "aaaaa", "aaa")
    assert (chosen.stopped_early, chosen.degraded, sampler.asked) == (False, False, [4])


@both_kinds
def test_rounds_give_what_one_round_gives(kind: str) -> None:
    texts = ["a" * (index * 7 % 10) + "!" for index in range(10)]
    sampler = Sampler(texts)

    whole = best(kind, server_of(), Sampler(texts), 10)
    rounds = best(kind, server_of(), sampler, 10, round_size=4)

    assert rounds == whole
    assert sampler.asked == [4, 4, 2]


@both_kinds
def test_the_hook_sees_the_ranking_so_far_and_ends_the_drawing(kind: str) -> None:
    seen: list[RankReply] = []

    def stop(ranking: RankReply) -> bool:
        seen.append(ranking)
        score = ranking.results[0].score
        assert score is not None
        return score > 3

    sampler = Sampler(["a", "aa", "aaaa", "a", "never drawn"])
    chosen = best(kind, server_of(), sampler, 6, round_size=2, stop=stop)

    assert (chosen.response, chosen.margin, chosen.stopped_early) == ("aaaa", 2.0, True)
    assert [[place.index for place in ranking.results] for ranking in seen] == [[1, 0], [2, 1, 0, 3]]
    assert chosen.ranking == seen[-1]
    assert sampler.asked == [2, 2]


@both_kinds
def test_the_hook_is_not_asked_when_there_is_nothing_left_to_draw(kind: str) -> None:
    asked: list[RankReply] = []

    chosen = best(
        kind, server_of(), Sampler(["a", "b"]), 2, round_size=1, stop=lambda ranking: bool(asked.append(ranking))
    )

    assert len(asked) == 1
    assert not chosen.stopped_early
    assert (chosen.response, chosen.margin) == ("a", 0.0)  # equal scores: the first drawn


@both_kinds
def test_responses_that_cannot_be_scored_are_left_out_and_named(kind: str) -> None:
    server = server_of()
    server._result = refusing_long(server._result)  # type: ignore[method-assign]

    chosen = best(kind, server, Sampler(["aaaaaaaa", "a", "aaaaaaaaa", "aa"]), 4, round_size=2)

    assert [place.index for place in chosen.ranking.results] == [3, 1]
    assert [(result.index, result.error and result.error.code) for result in chosen.ranking.errors] == [
        (0, "too_long"),
        (2, "too_long"),
    ]
    assert not chosen.degraded


@both_kinds
@pytest.mark.parametrize("on_failure", ["raise", "original_order"])
def test_no_score_at_all_raises_though_the_server_answers(kind: str, on_failure: str) -> None:
    with pytest.raises(PairFailed, match="empty_prompt"):
        best(kind, server_of(), Sampler(["a", "b"]), 2, prompt="", on_failure=on_failure)


@both_kinds
def test_without_a_server_it_raises_or_keeps_the_order_and_says_so(kind: str) -> None:
    gone: dict[str, Any] = {"client": {"retry_for_s": 0.05}}

    with pytest.raises(ServerUnavailable):
        best(kind, server_of(afterwards="lost"), Sampler(["a", "bb"]), 2, **gone)
    sampler = Sampler(["a", "bb", "never drawn"])
    chosen = best(kind, server_of(afterwards="lost"), sampler, 3, round_size=2, on_failure="original_order", **gone)

    assert (chosen.response, chosen.score, chosen.margin, chosen.degraded) == ("a", None, None, True)
    assert [place.score for place in chosen.ranking.results] == [None, None]
    assert sampler.asked == [2]


@both_kinds
def test_a_server_that_goes_away_leaves_the_scores_it_gave(kind: str) -> None:
    server = server_of("ok", afterwards="lost")
    options: dict[str, Any] = {"round_size": 2, "client": {"retry_for_s": 0.05}}

    chosen = best(kind, server, Sampler(["a", "bb", "ccc", "d"]), 4, on_failure="original_order", **options)

    assert (chosen.response, chosen.score, chosen.margin, chosen.degraded) == ("bb", 2.0, 1.0, True)
    assert chosen.responses == ("a", "bb", "ccc", "d")


@both_kinds
def test_a_refusal_is_never_degraded(kind: str) -> None:
    with pytest.raises(Unauthorized):
        best(kind, server_of(afterwards="401"), Sampler(["a"]), 1, on_failure="original_order")


@both_kinds
@pytest.mark.parametrize(
    ("answer", "words"), [("ab", "one text"), (["a"], "returned 1 responses; 2 were asked for"), ([], "returned 0")]
)
def test_a_sampler_that_gives_something_else_is_told(kind: str, answer: Any, words: str) -> None:
    with pytest.raises(InvalidPair, match=words):
        best(kind, server_of(), lambda prompt, count: answer, 2)


@both_kinds
@pytest.mark.parametrize("options", [{"n": 0}, {"n": 1, "round_size": 0}, {"n": 1, "on_failure": "zero"}])
def test_wrong_arguments_raise_before_anything_is_drawn(kind: str, options: dict[str, Any]) -> None:
    sampler = Sampler(["a"])

    with pytest.raises(ValueError, match=r"n is 0|round_size is 0|on_failure is 'zero'"):
        best(kind, server_of(), sampler, **options)
    assert sampler.asked == []


def test_the_sampler_may_be_asynchronous() -> None:
    async def generate(prompt: Any, count: int) -> list[str]:
        await asyncio.sleep(0)
        return [f"{prompt} {index}" for index in range(count)]

    assert best("async", server_of(), generate, 2).responses == ("p 0", "p 1")


def refusing_long(inner: Any) -> Any:
    """Results in which a response of more than seven letters is too long."""

    def result(path: str, index: int, pair: Any) -> dict[str, Any]:
        answer: dict[str, Any] = inner(path, index, pair)
        if len(pair["response"]) > 7:
            del answer["score"]
            answer["error"] = {"code": "too_long", "message": "scripted", "retryable": False}
        return answer

    return result
