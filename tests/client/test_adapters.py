"""Reward functions as trainers call them, against a scripted server: what comes back, and what raises."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from reward_client import (
    FingerprintChanged,
    FingerprintMismatch,
    InvalidPair,
    PairFailed,
    RequestRefused,
    RewardServerError,
    ServerUnavailable,
)
from reward_client.adapters import (
    areal_reward,
    openrlhf_reward_func,
    trl_reward,
    trl_reward_sync,
    verl_compute_score,
)
from reward_client.adapters._shared import Pin
from reward_client.values import ScoreReply
from tests.client.both import QUICK, transport_to
from tests.client.faulty_http import serving
from tests.client.scripted_server import ScriptedServer, crc_score

URL = "http://rewards.test"
TEXT_PROMPTS = ["p", "q", "p", "q"]
TEXT_COMPLETIONS = ["a", "b", "c", "d"]
TURNS = [{"role": "user", "content": "p"}]
FULL = [*TURNS, {"role": "assistant", "content": "calls", "tool_calls": [1]}, {"role": "tool", "content": "42"}]


def options_of(server: ScriptedServer, **options: Any) -> dict[str, Any]:
    return {**QUICK, "transport": transport_to(server), **options}


def trl_async(server: ScriptedServer, **options: Any) -> Callable[..., list[float | None]]:
    """`trl_reward`, called as TRL does: in an event loop of its own, everything by keyword."""
    reward = trl_reward(URL, **options_of(server, **options))
    return lambda **columns: asyncio.run(reward(**columns))


def trl_sync(server: ScriptedServer, **options: Any) -> Callable[..., list[float | None]]:
    return trl_reward_sync(URL, **options_of(server, **options))


both_kinds = pytest.mark.parametrize("make", [trl_async, trl_sync])


def columns(prompts: Any, completions: Any, **others: Any) -> dict[str, Any]:
    return {"prompts": prompts, "completions": completions, "completion_ids": [[1]] * len(prompts), **others}


def scores_of(pairs: list[tuple[Any, str]]) -> list[float]:
    return [crc_score({"prompt": prompt, "response": response}) for prompt, response in pairs]


def test_trl_sees_a_coroutine_function_with_a_name() -> None:
    reward = trl_reward(URL, name="helpful")

    assert inspect.isfunction(reward)
    assert inspect.iscoroutinefunction(reward)
    assert reward.__name__ == "helpful"
    assert not inspect.iscoroutinefunction(trl_reward_sync(URL))
    assert trl_reward_sync(URL).__name__ == "reward_server"


@both_kinds
def test_standard_format_scores_in_order_with_the_group_of_a_prompt_sent_together(make: Any) -> None:
    server = ScriptedServer()

    rewards = make(server)(**columns(TEXT_PROMPTS, TEXT_COMPLETIONS, trainer_state=object(), answer=["x"] * 4))

    assert rewards == scores_of(list(zip(TEXT_PROMPTS, TEXT_COMPLETIONS, strict=True)))
    [request] = server.requests
    assert [pair["prompt"] for pair in request["body"]["pairs"]] == ["p", "p", "q", "q"]
    assert request["body"]["priority"] == "bulk"


@both_kinds
def test_conversational_format_scores_the_last_assistant_turn(make: Any) -> None:
    prompts = [TURNS, FULL, [{"role": "user", "content": [{"type": "text", "text": "p"}]}]]
    completions = [
        [{"role": "assistant", "content": "a", "tool_calls": None}],
        [{"role": "assistant", "content": "b"}],
        [
            {"role": "assistant", "content": "think"},
            {"role": "tool", "content": "1"},
            {"role": "assistant", "content": [{"type": "text", "text": "c"}]},
        ],
    ]

    rewards = make(ScriptedServer())(**columns(prompts, completions))

    last = [*TURNS, {"role": "assistant", "content": "think"}, {"role": "tool", "content": "1"}]
    assert rewards == scores_of([(TURNS, "a"), (FULL, "b"), (last, "c")])


@both_kinds
@pytest.mark.parametrize(
    ("prompts", "completions", "words"),
    [
        (["p"], ["a", "b"], "1 prompts and 2 completions"),
        ([TURNS], [[]], "must be the assistant's"),
        ([TURNS], [[{"role": "user", "content": "a"}]], "must be the assistant's"),
        ([TURNS], [[{"role": "assistant", "content": None}]], "must be text"),
        ([TURNS], [[{"role": "assistant", "content": [{"type": "image", "image": 1}]}]], "must be text"),
    ],
)
def test_what_cannot_be_a_pair_is_refused_before_anything_is_sent(
    make: Any, prompts: Any, completions: Any, words: str
) -> None:
    server = ScriptedServer()

    with pytest.raises(InvalidPair, match=words):
        make(server)(**columns(prompts, completions))
    assert server.requests == []


@both_kinds
def test_passing_faults_change_no_reward(make: Any) -> None:
    rewards = make(ScriptedServer(["503", "lost", "nan", "cut"]))(**columns(TEXT_PROMPTS, TEXT_COMPLETIONS))

    assert rewards == scores_of(list(zip(TEXT_PROMPTS, TEXT_COMPLETIONS, strict=True)))


@both_kinds
@pytest.mark.parametrize("on_pair_error", ["raise", "none"])
def test_a_server_that_is_gone_raises_whatever_is_said_of_single_pairs(make: Any, on_pair_error: str) -> None:
    reward = make(ScriptedServer(afterwards="lost"), retry_for_s=0.05, on_pair_error=on_pair_error)

    with pytest.raises(ServerUnavailable):
        reward(**columns(["p"], ["a"]))


@both_kinds
@pytest.mark.parametrize("on_pair_error", ["raise", "none"])
def test_pairs_that_only_failed_in_passing_are_never_none(make: Any, on_pair_error: str) -> None:
    server = ScriptedServer(afterwards="some_pairs_fail")
    reward = make(server, retry_for_s=0.05, on_pair_error=on_pair_error)

    with pytest.raises(RewardServerError):
        reward(**columns(["p", "q"], ["a", "b"]))


@both_kinds
def test_a_pair_that_cannot_be_scored_raises_or_is_none_and_is_never_a_number(make: Any) -> None:
    logged: list[tuple[str, float]] = []
    given = columns(["", "p"], ["a", "b"], log_metric=lambda *entry: logged.append(entry))

    with pytest.raises(PairFailed, match="empty_prompt"):
        make(ScriptedServer())(**given)
    assert make(ScriptedServer(), on_pair_error="none")(**given) == [None, *scores_of([("p", "b")])]
    assert logged == [("reward_server/unscored", 0.5)]


@both_kinds
def test_a_run_keeps_the_fingerprint_it_began_with(make: Any) -> None:
    server = ScriptedServer()
    reward = make(server)
    reward(**columns(["p"], ["a"]))
    server.fingerprint = "sha256:second"

    with pytest.raises(FingerprintMismatch):
        reward(**columns(["p"], ["a"]))
    assert [request["body"].get("fingerprint") for request in server.requests] == [None, "sha256:first"]


@both_kinds
def test_a_fingerprint_can_be_demanded_or_left_open(make: Any) -> None:
    server = ScriptedServer(fingerprint="sha256:second")

    with pytest.raises(FingerprintMismatch):
        make(server, fingerprint="sha256:first")(**columns(["p"], ["a"]))
    reward = make(server, fingerprint="any")
    before = reward(**columns(["p"], ["a"]))
    server.fingerprint = "sha256:third"
    assert reward(**columns(["p"], ["a"])) == before


def test_two_first_replies_with_different_fingerprints_are_told_apart() -> None:
    pin = Pin("first")
    pin.check(ScoreReply((), fingerprint="sha256:a"))

    with pytest.raises(FingerprintChanged):
        pin.check(ScoreReply((), fingerprint="sha256:b"))


@pytest.mark.parametrize("make", [trl_reward, trl_reward_sync, verl_compute_score])
def test_wrong_arguments_raise_when_the_function_is_made(make: Any) -> None:
    with pytest.raises(ValueError, match="allowed are first, any"):
        make(URL, fingerprint="latest")
    with pytest.raises(ValueError, match="http://"):
        make("rewards.test")
    with pytest.raises(TypeError, match="no_such_option"):
        make(URL, no_such_option=1)
    with pytest.raises((ValueError, TypeError), match="on_pair_error"):
        make(URL, on_pair_error="zero")


def test_an_asynchronous_function_serves_any_number_of_event_loops() -> None:
    with serving(ScriptedServer()) as url:
        reward = trl_reward(url, **QUICK)

        async def twice() -> list[float | None]:
            first, second = await asyncio.gather(reward(["p"], ["a"]), reward(["q"], ["b"]))
            assert second == scores_of([("q", "b")])
            return first

        assert [asyncio.run(twice()) for _ in range(3)] == [scores_of([("p", "a")])] * 3


async def test_verl_gets_the_float_of_prompt_and_solution() -> None:
    server = ScriptedServer()
    compute_score = verl_compute_score(URL, **options_of(server))

    reward = await compute_score(
        data_source="d", solution_str="a", ground_truth=None, extra_info={"prompt": "p"}, reward_router_address="x:1"
    )

    assert inspect.iscoroutinefunction(compute_score)
    assert [reward] == scores_of([("p", "a")])
    assert server.requests[0]["body"]["priority"] == "bulk"


class ArrayOfMessages:
    """What a list of messages becomes in a parquet file, as far as it matters."""

    def tolist(self) -> list[dict[str, Any]]:
        return [{"role": "user", "content": "p", "tool_calls": None}]


@pytest.mark.parametrize("prompt", [TURNS, tuple(TURNS), ArrayOfMessages()], ids=["list", "tuple", "array"])
async def test_verl_prompts_may_be_messages_and_may_be_named(prompt: Any) -> None:
    compute_score = verl_compute_score(URL, prompt_key="messages", **options_of(ScriptedServer()))

    assert [await compute_score("d", "a", "4", {"messages": prompt})] == scores_of([(TURNS, "a")])


@pytest.mark.parametrize(
    ("extra_info", "words"),
    [
        (None, "extra_info has nothing, no 'prompt'"),
        ({"index": 3, "answer": "4"}, "extra_info has \\['answer', 'index'\\], no 'prompt'; .* prompt_key="),
        ({"prompt": 4}, "is a int; it must be text or a list of messages"),
        ({"prompt": ["p"]}, "is a list; it must be text or a list of messages"),
    ],
)
async def test_verl_without_a_prompt_says_what_to_do(extra_info: Mapping[str, Any] | None, words: str) -> None:
    server = ScriptedServer()

    with pytest.raises(InvalidPair, match=words):
        await verl_compute_score(URL, **options_of(server))("d", "a", "4", extra_info)
    assert server.requests == []


async def test_verl_never_sees_a_timeout_that_it_would_make_a_zero_of() -> None:
    server = ScriptedServer(afterwards="503")
    compute_score = verl_compute_score(URL, **options_of(server, timeout_s=0.05))

    with pytest.raises(ServerUnavailable) as raised:
        await compute_score("d", "a", "4", {"prompt": "p"})
    assert not isinstance(raised.value, TimeoutError)
    assert raised.value.code == "deadline"


QUERIES, PROMPTS = ["<s>[INST] p [/INST] a</s>", "q b"], ["<s>[INST] p [/INST]", "q"]
REWARDS = [crc_score({"query": query, "prompt": prompt}) for query, prompt in zip(QUERIES, PROMPTS, strict=True)]


def test_openrlhf_gets_tensors_of_raw_scores() -> None:
    torch = pytest.importorskip("torch")
    server = ScriptedServer(["503", "lost", "page", "empty"], score=lambda text: float(len(text["query"])) / 8)
    reward_func = openrlhf_reward_func(URL, **options_of(server, run_id="r"))

    answer = reward_func(QUERIES, PROMPTS, [None, None], step=3)

    assert sorted(answer) == ["extra_logs", "rewards", "scores"]
    for tensor in (answer["rewards"], answer["scores"], answer["extra_logs"]["raw_reward"]):
        assert tensor.dtype == torch.float32
        assert tensor.tolist() == [len(query) / 8 for query in QUERIES]
    assert server.requests[-1]["body"] == {"query": QUERIES, "prompts": PROMPTS}
    assert server.requests[-1]["headers"]["x-run-id"] == "r"


def test_openrlhf_gets_lists_where_torch_is_not_loaded() -> None:
    code = (
        "from reward_client.adapters import openrlhf_reward_func; import sys; "
        "print(openrlhf_reward_func(sys.argv[1])(['pa'], ['p'], [None])['rewards'])"
    )
    with serving(ScriptedServer()) as url:
        done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str([crc_score({"query": "pa", "prompt": "p"})])


def test_openrlhf_sends_many_texts_in_parts_and_none_in_none() -> None:
    server = ScriptedServer()
    reward_func = openrlhf_reward_func(URL, **options_of(server))
    queries = [f"p{index}" for index in range(300)]

    answer = reward_func(queries, ["p"] * 300, [None] * 300)

    assert len(answer["rewards"]) == 300
    assert [len(request["body"]["query"]) for request in server.requests] == [256, 44]
    assert len(reward_func([], [], [])["rewards"]) == 0
    with pytest.raises(InvalidPair, match="1 queries and 2 prompts"):
        reward_func(["p"], ["p", "q"], [None])


@pytest.mark.parametrize("fault", ["lost", "503", "list", "page", "empty"])
def test_openrlhf_without_an_answer_raises(fault: str) -> None:
    reward_func = openrlhf_reward_func(URL, **options_of(ScriptedServer(afterwards=fault), retry_for_s=0.05))

    with pytest.raises(ServerUnavailable):
        reward_func(QUERIES, PROMPTS, [None, None])


@pytest.mark.parametrize("score", [float("nan"), "1.5", True, None])
def test_openrlhf_never_gets_what_is_no_number(score: Any) -> None:
    server = ScriptedServer(score=lambda text: score)
    reward_func = openrlhf_reward_func(URL, **options_of(server, retry_for_s=0.05))

    with pytest.raises(ServerUnavailable):
        reward_func(QUERIES, PROMPTS, [None, None])


def test_openrlhf_texts_that_are_refused_raise_at_once() -> None:
    server = ScriptedServer(afterwards="422")

    with pytest.raises(RequestRefused):
        openrlhf_reward_func(URL, **options_of(server))(QUERIES, PROMPTS, [None, None])
    assert len(server.requests) == 1


def test_openrlhf_loads_the_file_that_the_module_names(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "reward_client.adapters.openrlhf_file"
    printed = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=True).stdout
    path = Path(printed.strip())
    with serving(ScriptedServer()) as url:
        monkeypatch.setenv("REWARD_CLIENT_URL", url)
        monkeypatch.setenv("REWARD_CLIENT_API_KEY", "k")
        spec = importlib.util.spec_from_file_location("reward_func", path)  # as OpenRLHF does
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        answer = asyncio.run(asyncio.to_thread(loaded.reward_func, QUERIES[:1], PROMPTS[:1], [None]))

    assert path.suffix == ".py"
    assert inspect.isfunction(loaded.reward_func)
    assert [float(reward) for reward in answer["rewards"]] == [REWARDS[0]]


def test_areal_gets_a_float_in_a_process_of_its_pool() -> None:
    with serving(ScriptedServer(["503", "lost"])) as url:
        reward = areal_reward(url, **QUICK)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            scored = pool.submit(reward, "p", "a", [1], [2], answer="4").result()

    assert scored == crc_score({"query": "pa", "prompt": "p"})
    assert pickle.loads(pickle.dumps(reward)) == reward


def test_areal_never_sees_a_timeout_that_it_would_make_a_zero_of() -> None:
    reward = areal_reward(URL, **options_of(ScriptedServer(afterwards="503"), timeout_s=0.05))

    with pytest.raises(ServerUnavailable) as raised:
        reward("p", "a", [1], [2])
    assert not isinstance(raised.value, TimeoutError)
    assert pickle.loads(pickle.dumps(raised.value)).code == "deadline"


def test_areal_waits_less_than_the_wrapper_that_would_make_a_zero_of_it() -> None:
    assert dict(areal_reward(URL).options)["timeout_s"] < 15
