"""The examples do what they say, against a real server over a small checkpoint."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from service.cli import cli
from tests.checkpoints import make_checkpoint
from tests.docs.running import ROOT, run, run_python, serving

EXAMPLES = ROOT / "examples"
NOTEBOOK = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
CODE_CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    checkpoint = make_checkpoint(tmp_path_factory.mktemp("examples") / "demo", max_tokens=255)
    with serving(checkpoint) as address:
        yield address


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: examples/curl.sh goes untested")
def test_every_call_of_the_curl_example_is_answered(url: str) -> None:
    shown = run("bash", EXAMPLES / "curl.sh", url)
    replies = [_values(part) for part in shown.split("== POST ")[1:]]

    (scored,), (mixed,), (ranked,), lines, (explained,) = replies
    assert [result["id"] for result in scored["results"]] == ["good", "rude"]
    assert [result.get("error", {}).get("code") for result in mixed["results"]] == [None, "empty_prompt"]
    assert sorted(result["response"] for result in ranked["results"]) == ["Potato.", "Red.", "asdf qwer zxcv"]
    assert sorted(line["index"] for line in lines[:-1]) == [0, 1]
    assert "usage" in lines[-1]
    (result,) = explained["results"]
    assert len(result["token_values"]) == result["response_tokens"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: examples/curl.sh goes untested")
def test_the_curl_example_fails_where_a_call_fails(url: str) -> None:
    with pytest.raises(AssertionError, match="not_found"):
        run("bash", EXAMPLES / "curl.sh", f"{url}/elsewhere")


def test_the_client_example_runs_to_its_end(url: str) -> None:
    shown = run(sys.executable, EXAMPLES / "python_client.py", url).splitlines()

    assert [line.split()[:2] for line in shown[-3:]] == [["streamed:", str(index)] for index in range(3)]
    assert "empty empty_prompt" in shown
    assert sum(line.startswith(("best: ", "raised: ", "fine ")) for line in shown) == 3


def test_the_notebook_is_a_notebook_without_outputs() -> None:
    assert NOTEBOOK["nbformat"] == 4
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]


def test_the_notebooks_cells_run_in_order(url: str) -> None:
    cells = [*CODE_CELLS, "print('margin', ranking.margin == reply.scores[ranking.best] - sorted(reply.scores)[-2])"]
    code = "\n".join(cells)
    assert code.count('URL = "http://127.0.0.1:8000"') == 1
    shown = run_python(code.replace("http://127.0.0.1:8000", url))

    assert shown.splitlines()[0].startswith("1. ")
    assert shown.splitlines()[-1] == "margin True"


def test_a_scored_file_has_the_scores_of_http(url: str, tmp_path: Path) -> None:
    output = tmp_path / "scores.jsonl"
    source = EXAMPLES / "pairs.jsonl"
    done = CliRunner().invoke(cli, ["score", str(source), str(output), "--url", url])

    assert done.exit_code == 0, done.output
    pairs = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    answered = httpx.post(f"{url}/v1/score", json={"pairs": pairs}).json()["results"]
    assert [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()] == answered
    assert [result.get("error", {}).get("code") for result in answered] == [None, None, None, "empty_prompt"]


def test_every_entry_of_the_numeric_mode_is_explained(url: str) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (model,) = httpx.get(f"{url}/v1/info").json()["models"]

    assert len(model["numeric_mode"]) > 5
    assert [name for name in model["numeric_mode"] if f"`{name}`" not in page] == []


def _values(part: str) -> list[Any]:
    """The JSON lines of one call's output, after the line that names its route."""
    return [json.loads(line) for line in part.splitlines()[1:] if line]


@pytest.mark.long
def test_an_example_that_is_told_to_end_takes_its_server_with_it() -> None:
    code = (
        "import time\nfrom examples.demo_server import demo_server\n"
        "with demo_server(None) as url:\n    print(url, flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as example:
        assert example.stdout is not None
        url = example.stdout.readline().strip()
        assert httpx.get(f"{url}/livez").status_code == 200

        example.terminate()
        assert example.wait(60) == 128 + signal.SIGTERM

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/livez")
