"""200 pairs over HTTP, one float each: calm, in groups, in 64 batches, explained, under load, after a restart. With ==.

The server's cache is so small that it evicts all the while, and its frames so short that long pairs span several.
"""

import asyncio
import json
import random
import signal
from itertools import count

import pytest

from benchmarks.light_http import Connection, post_all
from tests.checkpoints import make_checkpoint
from tests.end_to_end.process import running
from tests.end_to_end.texts import group

NUM_PAIRS = 200
NUM_BATCHES = 64
MAX_TOKENS = 2048
FLAGS = ("--prefix-cache-tokens", str(MAX_TOKENS), "--max-frame-tokens", "640", "--chunk-tokens", "128")
FLAGS += ("--threads", "2")

pytestmark = pytest.mark.timeout(900)


def mixed_groups(seed: int, num_pairs: int) -> list[list[dict]]:
    """Groups of one to eight distinct responses to a conversation, about 10 to 1,500 tokens a pair."""
    rng, made = random.Random(seed), []
    while sum(map(len, made)) < num_pairs:
        pairs = group(rng, rng.randint(1, 8), longest=rng.choice([5, 40, 120]))
        made.append([_json(pair, number) for number, pair in enumerate(pairs)])
    return made


def _json(pair, number):
    turns = [{"role": turn.role, "content": turn.content} for turn in pair.prompt]
    return {"prompt": turns, "response": f"{pair.response} {number}"}


async def scores(url, calls, num_connections=1, **more):
    """The scores of calls of pairs, a list for each."""
    bodies = [json.dumps({"pairs": pairs, **more}).encode() for pairs in calls]
    replies = [json.loads(reply) for reply in await post_all(url, "/v1/score", bodies, num_connections)]
    return [[result["score"] for result in reply["results"]] for reply in replies]


async def under_load(url, pairs):
    """Scores of single pairs, all asked at once, while others' bulk calls and interactive ones keep the engine busy."""
    seeds, num_done = count(1000), 0

    async def stranger(priority):
        nonlocal num_done
        while True:
            await scores(url, mixed_groups(next(seeds), 32), priority=priority)
            num_done += 1

    strangers = [asyncio.create_task(stranger(priority)) for priority in ("bulk", "bulk", "interactive")]
    try:
        while num_done < 2:
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in strangers)
        got = await scores(url, [[pair] for pair in pairs], num_connections=64)
        assert not any(task.done() for task in strangers), "the load ended before the pairs were scored"
    finally:
        for task in strangers:
            task.cancel()
        await asyncio.gather(*strangers, return_exceptions=True)
    return [score for (score,) in got]


@pytest.mark.parametrize(
    ("family", "dtype", "config"),
    [
        pytest.param("qwen3", "float32", {}, marks=pytest.mark.long),
        pytest.param("mistral", "bfloat16", {"sliding_window": 150}, marks=pytest.mark.long),
        pytest.param("qwen3", "bfloat16", {}, marks=pytest.mark.soak),
        pytest.param("mistral", "float32", {"sliding_window": 150}, marks=pytest.mark.soak),
    ],
)
async def test_two_hundred_pairs_have_one_float_each_whatever_the_server_goes_through(tmp_path, family, dtype, config):
    checkpoint = make_checkpoint(tmp_path / "model", family, max_tokens=MAX_TOKENS, **config)
    flags = (checkpoint, "--dtype", dtype, *FLAGS)
    groups = mixed_groups(seed=1, num_pairs=NUM_PAIRS)
    pairs = [pair for members in groups for pair in members]
    rng = random.Random(2)
    with running(tmp_path / "first.log", *flags) as server:
        url = server.url
        alone = [score for (score,) in await scores(url, [[pair] for pair in pairs])]
        assert len(set(alone)) > NUM_PAIRS // 2  # the model tells them apart, so that equality says something

        assert [score for members in await scores(url, groups, num_connections=4) for score in members] == alone
        chosen = [rng.sample(range(len(pairs)), rng.randint(2, 16)) for _ in range(NUM_BATCHES)]
        batches = await scores(url, [[pairs[i] for i in batch] for batch in chosen], num_connections=8)
        assert batches == [[alone[i] for i in batch] for batch in chosen]
        assert await scores(url, [pairs], explain=True) == [alone]
        assert await under_load(url, pairs) == alone
        metrics = await asyncio.to_thread(server.get, "/metrics")
        evicted = next(
            line for line in metrics[1].splitlines() if line.startswith("reward_server_prefix_cache_evicted")
        )
        assert float(evicted.split()[-1]) > MAX_TOKENS
        fingerprint = await _fingerprint(url)
        await asyncio.to_thread(server.stop, signal.SIGKILL)
    with running(tmp_path / "second.log", *flags) as server:
        assert await _fingerprint(server.url) == fingerprint
        reverse = await scores(server.url, [[pair] for pair in pairs[::-1]], num_connections=64)
        assert [score for (score,) in reverse] == alone[::-1]


async def _fingerprint(url):
    connection = await Connection.open(url)
    try:
        return (await connection.get("/v1/models"))["data"][0]["fingerprint"]
    finally:
        connection.close()
