"""One real server process over the demo model, and real client packages in environments of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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
KEY = "sesame"

Findings = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """The server's address, and what it says of the conversations by its own routes."""

    url: str
    key: str
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
    """`reward-server serve demo`, which asks for a key."""
    with _serving(tmp_path_factory.mktemp("clients") / "log", KEY) as served:
        yield served


@pytest.fixture(scope="session")
def open_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same without a key, for clients that can show none."""
    with _serving(tmp_path_factory.mktemp("clients") / "log", "") as served:
        yield served


@contextmanager
def _serving(log: Path, key: str) -> Iterator[Served]:
    pairs = [{"prompt": QUERY, "response": document} for document in DOCUMENTS]
    with running(log, "demo", *(("--api-key", key) if key else ())) as server:
        scored = server.post(f"/v1/score?key={key}", {"pairs": pairs})[1]["results"]
        read = server.post(f"/v1/tokenize?key={key}", {"pairs": pairs})[1]["results"]
        scores = [result["score"] for result in scored]
        assert len(set(scores)) == len(scores)  # the model tells them apart, so that equality says something
        yield Served(
            server.url, key, scores, [result["rendered"] for result in read], [result["ids"] for result in read]
        )


def ask(served: Served, group: str, script: str) -> Findings:
    """Runs a client script in its group's environment and returns what it found."""
    task = {
        "url": served.url,
        "key": served.key,
        "query": QUERY,
        "documents": DOCUMENTS,
        "rendered": served.rendered,
        "ids": served.ids,
        "too_long": TOO_LONG,
    }
    done = subprocess.run(
        [str(python_of(group)), str(SCRIPTS / f"{script}.py")],
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


def environment() -> dict[str, str]:
    """A user's: nothing of ours on Python's path, no switch that keeps the hub's client from calling."""
    ours = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "HF_HUB_OFFLINE", "VIRTUAL_ENV"}
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    return clean | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
