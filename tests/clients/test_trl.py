"""Real TRL trainers take steps against a real server; each completion's reward is the float of `/v1/score`.

TRL runs in the environment of `examples/grpo`, made here if need be; `TRL_PYTHON` names another interpreter that has
`examples/grpo/requirements.txt`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reward_client import Client
from tests.end_to_end.process import environment, running

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "grpo"

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first run downloads TRL's environment


@pytest.fixture(scope="module")
def trl_python() -> str:
    """An interpreter with TRL."""
    named = os.environ.get("TRL_PYTHON")
    if named:
        return named
    subprocess.run(["make", "-C", EXAMPLE, ".venv/.installed"], check=True)
    return str(EXAMPLE / ".venv" / "bin" / "python")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("trl") / "log", "demo") as server:
        yield server.url


def run(python: str, *arguments: str) -> str:
    """What a module printed, run in TRL's environment."""
    command = [python, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("shape", ["standard", "conversational"])
@pytest.mark.parametrize("trainer", ["grpo", "rloo", "online_dpo"])
def test_a_trainers_rewards_are_the_servers_floats(
    trl_python: str, url: str, tmp_path: Path, trainer: str, shape: str
) -> None:
    printed = run(trl_python, "tests.clients.trl_step", trainer, shape, url, str(tmp_path))
    rows: list[list[Any]] = json.loads(printed.splitlines()[-1])
    pairs = [(prompt, text_of(completion)) for prompt, completion, _ in rows]
    with Client(url) as client:
        expected = client.score(pairs).scores

    assert len(rows) >= 8  # two steps of four completions, or of four prompts with two each
    assert [reward for _, _, reward in rows] == expected


def text_of(completion: Any) -> str:
    """The assistant's text, in either format."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def test_the_grpo_example_runs_to_its_end(trl_python: str, url: str, tmp_path: Path) -> None:
    run(trl_python, "examples.grpo", "--quick", "--url", url, "--out", str(tmp_path))

    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [entry["step"] for entry in report["curve"]] == [1, 2, 3]
    assert report["held_out"]["num_questions"] == 64
    assert (tmp_path / "reward_curve.png").stat().st_size > 1000
