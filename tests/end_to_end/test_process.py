"""The server as a user meets it: one command, a ready line, curl, and the same floats after a restart."""

import signal

import pytest

from tests.end_to_end.process import run_command, running

PAIRS = [{"id": str(n), "prompt": f"What is {n} + {n}?", "response": str(2 * n)} for n in range(8)]


def scores_of(server, pairs=PAIRS):
    status, body = server.post("/v1/score", {"pairs": pairs})
    assert status == 200, body
    return [result["score"] for result in body["results"]], body["fingerprint"]


def test_a_server_says_when_it_is_ready_and_scores_the_same_after_a_restart(llama_checkpoint, tmp_path):
    with running(tmp_path / "first.log", llama_checkpoint) as server:
        first, fingerprint = scores_of(server)
        assert [scores_of(server, [pair])[0][0] for pair in PAIRS] == first
        assert f"reward-server ready on {server.url} (model llama, fingerprint {fingerprint})" in server.log.read_text()
        assert server.stop() == 0
    with running(tmp_path / "second.log", llama_checkpoint) as server:
        assert scores_of(server) == (first, fingerprint)


@pytest.mark.long
def test_a_rank_equals_the_order_of_the_scores(llama_checkpoint, tmp_path):
    with running(tmp_path / "log", llama_checkpoint) as server:
        responses = ["four", "5", "I do not know", ""]
        scores, _ = scores_of(server, [{"prompt": "2+2?", "response": response} for response in responses])
        status, ranked = server.post("/v1/rank", {"prompt": "2+2?", "responses": responses})

        assert status == 200
        assert [place["score"] for place in ranked["results"]] == sorted(scores, reverse=True)
        assert [scores[place["index"]] for place in ranked["results"]] == sorted(scores, reverse=True)


@pytest.mark.long
def test_metrics_count_what_was_scored_and_what_was_refused(llama_checkpoint, tmp_path):
    with running(tmp_path / "log", llama_checkpoint) as server:
        _, before = server.get("/metrics")
        server.post("/v1/score", {"pairs": [*PAIRS, {"prompt": "", "response": "x"}]})
        _, after = server.get("/metrics")

    def count(text, outcome):
        name = f'reward_server_pairs_total{{model="llama",outcome="{outcome}"}} '
        return float(next((line.removeprefix(name) for line in text.splitlines() if line.startswith(name)), 0))

    assert count(after, "score") - count(before, "score") == len(PAIRS)
    assert count(after, "empty_prompt") - count(before, "empty_prompt") == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=str)
@pytest.mark.long
def test_a_told_server_stops_and_exits_clean(llama_checkpoint, tmp_path, how):
    with running(tmp_path / "log", llama_checkpoint) as server:
        assert server.stop(how) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "no-such-model"), "no-such-model"),
        (("serve", "--port", "99999"), "--port"),
        (("serve", "--host", "0.0.0.0"), "--api-key"),
        (("score", "missing.jsonl", "out.jsonl"), "missing.jsonl"),
        (("models", "show", "demmo"), "demo"),
    ],
    ids=["unknown model", "bad port", "open address", "missing file", "close name"],
)
def test_a_mistake_is_answered_with_what_to_do_and_no_traceback(arguments, words):
    ended = run_command(*arguments)

    assert ended.returncode != 0
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
