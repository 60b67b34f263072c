"""The reranking example runs with LangChain's Cohere client, in its own environment, against a real server.

The environment is made here if need be; `RERANK_PYTHON` names another interpreter that has
`examples/rerank/requirements.txt`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.process import environment, running

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "rerank"

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]  # the first run downloads the environment


def test_the_example_runs_to_its_end(tmp_path: Path) -> None:
    python = os.environ.get("RERANK_PYTHON")
    if not python:
        subprocess.run(["make", "-C", EXAMPLE, ".venv/.installed"], check=True)
        python = str(EXAMPLE / ".venv" / "bin" / "python")
    with running(tmp_path / "log", "demo") as server:
        command = [python, "-m", "examples.rerank", "--url", server.url, "--out", tmp_path, "--questions", "30"]
        subprocess.run(command, cwd=ROOT, env=environment(), check=True, timeout=300)

    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    by_words, reranked = report["search"]
    first, *_, last = report["best_of_n"]
    assert (first["n"], last["n"]) == (1, 7)
    assert last["mean_defect"] < first["mean_defect"]
    assert reranked["found_at_all"] == by_words["found_at_all"]  # the reranker orders, it does not find
    assert reranked["mrr"] > by_words["mrr"]
