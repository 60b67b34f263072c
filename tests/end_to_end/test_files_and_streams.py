"""A file, a request, a stream, a killed run: the same scores, byte for byte."""

import asyncio
import json
import random
import signal
import subprocess
import time

import pytest

from reward_client import AsyncClient, Client
from tests.end_to_end.process import COMMAND, environment, run_command, running
from tests.end_to_end.texts import group

pytestmark = pytest.mark.long

NUM_GROUPS, GROUP_SIZE = 60, 5


@pytest.fixture(scope="module")
def pairs():
    rng = random.Random(21)
    made = []
    for number in range(NUM_GROUPS):
        for member, pair in enumerate(group(rng, GROUP_SIZE)):
            prompt = [{"role": turn.role, "content": turn.content} for turn in pair.prompt]
            made.append({"id": f"{number}-{member}", "prompt": prompt, "response": pair.response})
    made[17]["response"] = "word " * 5000
    rng.shuffle(made)
    return made


@pytest.fixture(scope="module")
def server(llama_checkpoint, tmp_path_factory):
    with running(tmp_path_factory.mktemp("server") / "log", llama_checkpoint) as server:
        yield server


@pytest.fixture
def source(pairs, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_gets_the_scores_that_http_gives(llama_checkpoint, server, source, pairs, tmp_path):
    local = run_command("score", source, tmp_path / "local.jsonl", "--model", llama_checkpoint)
    remote = run_command("score", source, tmp_path / "remote.jsonl", "--url", server.url)
    assert (local.returncode, remote.returncode) == (0, 0), local.stderr + remote.stderr
    status, body = server.post("/v1/score", {"pairs": pairs})
    assert status == 200

    assert (tmp_path / "local.jsonl").read_bytes() == (tmp_path / "remote.jsonl").read_bytes()
    assert rows(tmp_path / "local.jsonl") == body["results"]
    assert [row["error"]["code"] for row in body["results"] if "error" in row] == ["too_long"]


def test_a_stream_gives_the_scores_of_one_reply(server, pairs):
    with Client(server.url) as client:
        whole = client.score(pairs, on_error="return")
        streamed = sorted(client.stream(pairs, on_error="return"), key=lambda result: result.index)

    assert [(r.index, r.score, r.error and r.error.code) for r in streamed] == [
        (r.index, r.score, r.error and r.error.code) for r in whole.results
    ]


@pytest.mark.parametrize("num_lines", [1, 150])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(llama_checkpoint, server, source, tmp_path, num_lines):
    calm = run_command("score", source, tmp_path / "calm.jsonl", "--url", server.url)
    assert calm.returncode == 0, calm.stderr
    words = [*COMMAND, "score", str(source), str(tmp_path / "out.jsonl"), "--model", str(llama_checkpoint)]
    job = subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL)
    partial = tmp_path / "out.jsonl.partial"
    while job.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") > num_lines):
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.wait(30)
    again = run_command("score", source, tmp_path / "out.jsonl", "--model", llama_checkpoint)

    assert again.returncode == 0, again.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "calm.jsonl").read_bytes()
    assert not partial.exists()


def test_a_line_that_is_no_pair_gets_its_error_and_spoils_no_other(server, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "p", "response": "r"}\n{oops\n{"prompt": "p", "response": "s"}\n')
    ended = run_command("score", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--url", server.url)
    assert ended.returncode == 0, ended.stderr
    first, bad, last = rows(tmp_path / "out.jsonl")

    assert (type(first["score"]), type(last["score"])) == (float, float)
    assert bad["error"]["code"] == "bad_line"
    assert "line 2" in bad["error"]["message"]


async def test_the_first_streamed_line_comes_before_the_last_pair_is_computed(server):
    """When the first of 2,000 results is here, the server's own count of scored pairs is not yet 2,000 further."""

    def num_scored():
        _, text = server.get("/metrics")
        name = 'reward_server_pairs_total{model="llama",outcome="score"} '
        return float(next((line.removeprefix(name) for line in text.splitlines() if line.startswith(name)), 0))

    pairs = [(f"prompt {number // 8}", f"response {number}") for number in range(2000)]
    before = num_scored()
    async with AsyncClient(server.url, max_pairs_per_request=2000) as client:
        stream = client.stream(pairs)
        first = await anext(stream)
        at_first = await asyncio.to_thread(num_scored) - before
        rest = [result async for result in stream]

    assert 0 < at_first < 2000
    assert sorted([first.index, *(result.index for result in rest)]) == list(range(2000))


def test_a_ranking_on_the_command_line_is_best_first(server):
    ended = run_command("rank", "2+2?", "four", "5", "I do not know", "--url", server.url)
    _, body = server.post("/v1/rank", {"prompt": "2+2?", "responses": ["four", "5", "I do not know"]})

    responses = ["four", "5", "I do not know"]
    assert [responses[place["index"]] for place in body["results"]] == [
        line.split(maxsplit=2)[2].strip() for line in ended.stdout.splitlines()[1:]
    ]


def test_the_same_pairs_again_cost_nothing_with_the_cache_on(llama_checkpoint, tmp_path):
    pairs = [{"prompt": f"prompt {number // 4}", "response": f"response {number}"} for number in range(1000)]
    with running(tmp_path / "log", llama_checkpoint, "--score-cache-pairs", "2000") as server:
        _, first = server.post("/v1/score", {"pairs": pairs})
        _, second = server.post("/v1/score", {"pairs": pairs})

    assert first["usage"]["computed_tokens"] > 0
    assert second["usage"]["computed_tokens"] == 0
    assert second["results"] == first["results"]
