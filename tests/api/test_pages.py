"""The page, its files, and the documentation: offline, without a key, with examples that work."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.api import pages
from tests.api.conftest import Serve

FOLDER = Path(pages.__file__).parent
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".svg"))
SCRIPTS = [name for name in FILES if name.endswith(".js")]


@pytest.mark.parametrize(("path", "words"), [("/", "<title>reward-server"), ("/docs", "<title>reward-server API")])
async def test_a_page_is_served_under_a_strict_policy(serve: Serve, path: str, words: str) -> None:
    async with serve() as client:
        reply = await client.get(path)

    policy = reply.headers["Content-Security-Policy"]
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert words in reply.text
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_everything_a_page_refers_to_is_served_from_here(serve: Serve, path: str) -> None:
    async with serve() as client:
        page = await client.get(path)
        addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        statuses = {address: (await client.get(address)).status_code for address in addresses}

    assert len(statuses) >= 4
    assert set(statuses.values()) == {200}


@pytest.mark.parametrize("name", FILES)
def test_no_file_loads_anything_from_elsewhere_or_runs_inline(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")

    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|style=", text) == []
    assert "innerHTML" not in text


@pytest.mark.parametrize("name", ["__init__.py", "..%2Fapp.py", "index.html", "nothing.js", "%2e%2e%2fops.py"])
async def test_nothing_but_the_pages_files_is_served(serve: Serve, name: str) -> None:
    async with serve() as client:
        assert (await client.get(f"/static/{name}")).status_code == 404


def test_every_element_the_page_script_asks_for_exists() -> None:
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    page = (FOLDER / "index.html").read_text(encoding="utf-8")

    wanted = set(re.findall(r'find\("([\w-]+)"\)', script))
    assert len(wanted) > 5
    assert wanted <= set(re.findall(r'id="([\w-]+)"', page))


def test_every_field_of_the_page_has_a_label() -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")

    labelled = set(re.findall(r'<label for="([\w-]+)"', page))
    fields = set(re.findall(r'<(?:input|textarea) id="([\w-]+)"', page))
    assert fields == labelled == {"key", "prompt"}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: the scripts' syntax goes unchecked")
def test_a_script_parses(name: str) -> None:
    found = subprocess.run(["node", "--check", str(FOLDER / name)], capture_output=True, text=True, check=False)

    assert found.stderr == ""


async def description_of(serve: Serve) -> dict[str, Any]:
    async with serve() as client:
        description: dict[str, Any] = (await client.get("/openapi.json")).json()
    return description


def is_native(operations: Mapping[str, Any]) -> bool:
    return all("native" in operation["tags"] for operation in operations.values())


async def test_every_native_route_is_described_with_a_worked_example(serve: Serve) -> None:
    paths = (await description_of(serve))["paths"]
    native = {path: operations for path, operations in paths.items() if is_native(operations)}

    assert len(native) == 7
    for operations in native.values():
        for method, operation in operations.items():
            assert operation["summary"]
            assert "example" in operation["responses"]["200"]["content"]["application/json"]
            if method == "post":
                assert operation["requestBody"]["content"]["application/json"]["examples"]


async def test_every_example_body_is_accepted_and_answered_with_the_fields_shown(serve: Serve) -> None:
    description = await description_of(serve)
    num_checked = 0
    async with serve() as client:
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                if not is_native(operations):
                    continue
                content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
                shown = operation["responses"]["200"]["content"]["application/json"]["example"]
                for example in content.get("examples", {"": {"value": None}}).values():
                    address = path.replace("{name}", "demo")
                    reply = await client.request(method, address, json=example["value"])
                    assert reply.status_code == 200, (path, reply.text)
                    assert sorted(reply.json()) == sorted(shown), path
                    num_checked += 1

    assert num_checked == 10


async def test_example_results_hold_the_fields_of_real_ones(serve: Serve) -> None:
    description = await description_of(serve)

    def shown(path: str, method: str = "post") -> Any:
        return description["paths"][path][method]["responses"]["200"]["content"]["application/json"]["example"]

    async with serve() as client:
        pair = {"prompt": "p", "response": "r"}
        bad = {"prompt": "", "response": "r"}
        scored = (await client.post("/v1/score", json={"pairs": [pair, bad]})).json()
        read = (await client.post("/v1/tokenize", json={"pairs": [pair]})).json()
        ranked = {"prompt": "p", "responses": ["r"], "return_responses": True}
        rank = (await client.post("/v1/rank", json=ranked)).json()
        verified = (await client.post("/v1/verify")).json()
        models = (await client.get("/v1/models")).json()
        info = (await client.get("/v1/info")).json()

    assert [sorted(result) for result in scored["results"]] == [sorted(r) for r in shown("/v1/score")["results"]]
    assert sorted(scored["usage"]) == sorted(shown("/v1/score")["usage"])
    assert sorted(read["results"][0]) == sorted(shown("/v1/tokenize")["results"][0])
    assert sorted(rank["results"][0]) == sorted(shown("/v1/rank")["results"][0])
    assert sorted(verified["checks"][0]) == sorted(shown("/v1/verify")["checks"][0])
    assert sorted(models["data"][0]) == sorted(shown("/v1/models", "get")["data"][0])
    assert sorted(info["models"][0]) == sorted(shown("/v1/info", "get")["models"][0])
    assert sorted(info["limits"]) == sorted(shown("/v1/info", "get")["limits"])
