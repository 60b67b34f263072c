"""One real server process over the demo model, and real client packages in environments of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.api.dialects.compat import sigmoid
from tests.clients.environments import python_of
from tests.end_to_end.process import running

SCRIPTS = Path(__file__).parent / "scripts"
SCRIPT_TIMEOUT_S = 240
"""For the slowest import (litellm, not compiled yet, 20 s) on a busy machine; a call itself takes milliseconds."""

QUERY = "What is 2+2?"
DOCUMENTS = ["2+2 is 4.", "Potato.", "It is 5, you fool.", "Four: 二足す二は四 😊", ""]
TOO_LONG = "word " * 5000

Findings = dict[str, Any]
Ask = Callable[[str, str], Findings]


@dataclass(frozen=True)
class Served:
    """The server's address, and what it says of the conversations by its own routes."""

    url: str
    scores: list[float]
    rendered: list[str]
    ids: list[list[int]]

    @property
    def ranked(self) -> list[list[float]]:
        """Index and sigmoid of each document, best raw score first."""
        return [[index, sigmoid(score)] for index, score in self.ranked_raw]

    @property
    def ranked_raw(self) -> list[list[float]]:
        """Index and raw score of each document, best first."""
        return [[index, self.scores[index]] for index in sorted(range(len(self.scores)), key=lambda i: -self.scores[i])]

    @property
    def sigmoids(self) -> list[float]:
        """The sigmoids of the scores, in the documents' order."""
        return [sigmoid(score) for score in self.scores]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`reward-server serve demo`."""
    pairs = [{"prompt": QUERY, "response": document} for document in DOCUMENTS]
    with running(tmp_path_factory.mktemp("clients") / "log", "demo") as server:
        scores = [result["score"] for result in server.post("/v1/score", {"pairs": pairs})[1]["results"]]
        read = server.post("/v1/tokenize", {"pairs": pairs})[1]["results"]
        assert len(set(scores)) == len(scores)  # the model tells them apart, so that equality says something
        yield Served(server.url, scores, [result["rendered"] for result in read], [result["ids"] for result in read])


@pytest.fixture
def ask(served: Served) -> Ask:
    """`ask(group, script)` runs a client script in its environment and gives its findings."""

    def _ask(group: str, script: str) -> Findings:
        task = {
            "url": served.url,
            "query": QUERY,
            "documents": DOCUMENTS,
            "rendered": served.rendered,
            "ids": served.ids,
            "too_long": TOO_LONG,
        }
        command = [str(python_of(group)), str(SCRIPTS / f"{script}.py")]
        done = subprocess.run(
            command,
            input=json.dumps(task),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=SCRIPT_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        findings: Findings = json.loads(done.stdout.splitlines()[-1])
        return findings

    return _ask


def environment() -> dict[str, str]:
    """A user's: nothing of ours on Python's path, no switch that keeps the hub's client from calling."""
    ours = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "HF_HUB_OFFLINE", "VIRTUAL_ENV"}
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    return clean | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
