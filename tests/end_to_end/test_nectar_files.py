"""All 812 pairs of the Nectar sample through the shipped model: file, killed file, HTTP and stream agree."""

import json
import signal
import subprocess
import time

import pytest

from reward_client import Client
from tests.end_to_end.process import COMMAND, environment, run_command, running
from tests.shared_data import nectar_pairs


@pytest.mark.shared
def test_file_http_stream_and_a_killed_run_give_the_same_scores(tmp_path):
    pairs = [
        {
            "id": str(number),
            "prompt": [{"role": turn.role, "content": turn.content} for turn in pair.prompt],
            "response": pair.response,
        }
        for number, pair in enumerate(nectar_pairs())
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    calm = run_command("score", source, tmp_path / "calm.jsonl")
    assert calm.returncode == 0, calm.stderr
    with running(tmp_path / "log", "demo") as server:
        status, body = server.post("/v1/score", {"pairs": pairs})
        with Client(server.url) as client:
            streamed = {result.index: result for result in client.stream(pairs, on_error="return")}
    kill_in_the_middle(source, tmp_path / "killed.jsonl")
    resumed = run_command("score", source, tmp_path / "killed.jsonl")
    assert (status, resumed.returncode) == (200, 0), resumed.stderr

    rows = [json.loads(line) for line in (tmp_path / "calm.jsonl").read_text().splitlines()]
    assert rows == body["results"]
    assert len(rows) == 812
    assert {row["error"]["code"] for row in rows if "error" in row} <= {"too_long"}
    assert [row.get("score") for row in rows] == [streamed[index].score for index in range(812)]
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "calm.jsonl").read_bytes()


def kill_in_the_middle(source, output):
    """Kills a run once its journal holds some results, but not all."""
    job = subprocess.Popen([*COMMAND, "score", str(source), str(output)], env=environment(), stderr=subprocess.DEVNULL)
    partial = output.with_name(output.name + ".partial")
    while job.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") > 100):
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait(30)
    assert partial.exists(), "the run was over before it could be killed"
