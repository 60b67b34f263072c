"""The comparison's own arithmetic, its journal, and that a held server burns nothing. No timing is asserted."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers import checkpoint
from benchmarks.peers.checkpoint import Text
from benchmarks.peers.rounds import Journal, Measured, run_round, summary
from benchmarks.peers.servers import Launch, running
from benchmarks.peers.sides import ALONE, CALLS, GROUPS, OURS, SINGLE, Side, calls_of
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]


def measured(side: str, way: str, rate: float, core_rate: float = 1.0) -> Measured:
    return Measured(side, way, rate, core_rate, worst_difference=0.0)


def texts(num_texts: int, seed: int = 0) -> list[Text]:
    return [Text(f"p{number // 3}|r{seed}", (number, seed), len(f"p{number // 3}|")) for number in range(num_texts)]


def is_running(process: Path) -> bool:
    """Whether a folder in /proc is of a process that has not ended; one that nobody has waited for has."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_ratio_is_the_median_over_rounds_of_each_sides_better_way():
    rounds = [
        [
            measured(OURS, SINGLE, ours),
            measured(OURS, CALLS, 1.0),
            measured("peer", SINGLE, 2.0),
            measured("peer", CALLS, peer, core_rate=0.25),
        ]
        for ours, peer in [(8.0, 4.0), (9.0, 3.0), (6.0, 6.0)]
    ]
    rows = {(row["side"], row["way"]): row for row in summary(rounds)}

    assert (rows["peer", CALLS]["ours_is"], rows["peer", CALLS]["ours_is_range"]) == (2.0, [1.0, 3.0])
    assert rows["peer", CALLS]["ours_is_per_core"] == 4.0
    assert (rows[OURS, SINGLE]["pairs_per_s"], rows[OURS, SINGLE]["pairs_per_s_range"]) == (8.0, [6.0, 9.0])
    assert [key for key, row in rows.items() if "ours_is" in row] == [("peer", CALLS)]


def test_every_side_gets_texts_of_its_way_and_the_order_moves_on():
    asked = []

    def side(name: str, way: str) -> Side:
        def scores(given):
            asked.append((name, [text.rendered for text in given]))
            return [float(text.ids[0]) + (0.5 if name == "wrong" else 0.0) for text in given]

        return Side(name, way, scores)

    sides = [side(ALONE, "library"), side(OURS, SINGLE), side("wrong", CALLS)]
    got = run_round(sides, 1, lambda seed: texts(4, seed))

    assert [name for name, _ in asked] == [ALONE, ALONE, OURS, "wrong", ALONE]  # the oracle's two, then from the second
    singles, calls = [text.rendered for text in texts(4, 2)], [text.rendered for text in texts(4, 3)]
    assert [given for _, given in asked[2:]] == [singles, calls, singles]
    assert [(each.side, each.worst_difference) for each in got] == [(ALONE, 0.0), (OURS, 0.0), ("wrong", 0.5)]


def test_calls_hold_what_their_way_says():
    assert [len(call) for call in calls_of(texts(40), CALLS)] == [32, 8]
    assert [len(call) for call in calls_of(texts(40), SINGLE)] == [1] * 40
    assert [len(call) for call in calls_of(texts(8), GROUPS)] == [3, 3, 2]


def test_a_journal_goes_on_behind_the_last_whole_round(tmp_path):
    path = tmp_path / "journal"
    Journal(path, {"pairs": 8}).add("chat", 0, [measured(OURS, SINGLE, 5.0)])
    with path.open("a") as file:
        file.write('{"workload": "chat", "round": 1, "meas')
    again = Journal(path, {"pairs": 8})

    assert again.rounds == {("chat", 0): [measured(OURS, SINGLE, 5.0)]}
    again.add("chat", 1, [measured(OURS, SINGLE, 6.0)])
    assert list(Journal(path, {"pairs": 8}).rounds) == [("chat", 0), ("chat", 1)]
    with pytest.raises(ValueError, match="another run"):
        Journal(path, {"pairs": 9})


@pytest.mark.long
def test_a_held_server_burns_nothing_and_goes_on_afterwards(tmp_path):
    """A server whose child polls in a loop, as vLLM's engine may: the whole group is held."""
    script = (
        "import http.server, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    launch = Launch("busy", (sys.executable, "-c", script, "{port}"), "/")
    with running(launch, tmp_path / "log") as server:
        assert server.idle_cpu_share() > 0.0
        server.hold()
        assert server.idle_cpu_share() == 0.0
        server.go_on()
        assert server.idle_cpu_share() > 0.0
        members = server._members()
        assert len(members) == 2
    for _ in range(200):  # a killed process is gone a little later
        if not any(map(is_running, members)):
            break
        time.sleep(0.05)
    assert not any(map(is_running, members))


def test_a_server_that_ends_says_what_it_printed(tmp_path):
    launch = Launch("broken", (sys.executable, "-c", "raise SystemExit('no such model')"), "/")
    with pytest.raises(RuntimeError, match="no such model"), running(launch, tmp_path / "log"):
        pass


@pytest.mark.long
def test_a_dry_run_beside_transformers_agrees_and_goes_on_from_its_journal(tmp_path):
    command = [sys.executable, "-m", "benchmarks.peers", "--sides", "reward-server", "transformers", "openrlhf"]
    command += ["--hidden", "64", "--layers", "2", "--pairs", "8", "--workloads", "chat", "rlhf-group"]
    command += ["--threads", "1", "--journal", str(tmp_path / "journal")]
    for rounds in ("1", "2"):
        done = subprocess.run([*command, "--rounds", rounds], cwd=ROOT, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["rounds"] == {"chat": int(rounds), "rlhf-group": int(rounds)}
    for rows in report["workloads"].values():
        assert {(row["side"], row["way"]) for row in rows} >= {(OURS, SINGLE), (OURS, CALLS), (ALONE, "library")}
        # fp32 sums in another order; scores spread by about 1
        assert max(row["worst_difference"] for row in rows) < 2e-5


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_texts_are_cut_before_their_response_where_no_token_spans_the_cut(name):
    tokenizer = checkpoint.tokenizer_of(checkpoint.DEMO)

    for text in checkpoint.texts_of(name, 8, 0, tokenizer):
        prompt, response = text.halves
        assert prompt.endswith("<|im_start|>")
        assert response.startswith(checkpoint.ANSWERS)
        assert tuple(tokenizer(prompt + response, add_special_tokens=False)["input_ids"]) == text.ids
