"""The pages say what the code does: generated blocks are up to date, hand-written tables leave nothing out."""

from __future__ import annotations

import asyncio
import json
import re
from functools import cache
from typing import Any

import pytest

from docs import generate
from docs._generate.curl import command_above
from docs._generate.errors import OF_A_PAIR, served_errors
from docs._generate.fields import DESCRIBED_TAGS, openapi
from docs._generate.page import Block, rewrite
from docs._generate.replies import SCENES, execute
from docs._generate.running import families

API = (generate.FOLDER / "api.md").read_text(encoding="utf-8")
OPERATIONS = (generate.FOLDER / "operations.md").read_text(encoding="utf-8")
ALL_PAGES = "\n".join(path.read_text(encoding="utf-8") for path in sorted(generate.FOLDER.glob("*.md")))
FREE_FORM = frozenset({"settings", "numeric_mode", "details", "objectives"})
"""Maps whose keys are data, or are explained in another place."""


@pytest.mark.parametrize("name", generate.PAGES)
def test_every_generated_block_is_what_the_code_says(name: str) -> None:
    assert generate.differences(generate.FOLDER / name) == ""


def test_every_page_with_marked_blocks_is_generated() -> None:
    marked = {path.name for path in generate.FOLDER.glob("*.md") if "<!-- generated:" in path.read_text("utf-8")}

    assert marked == set(generate.PAGES)


@cache
def exchanges() -> tuple[tuple[str, str, Any], ...]:
    """Method, address and JSON reply of every command on the API page that has a reply under it."""
    made: list[tuple[str, str, Any]] = []

    def note(block: Block) -> str:
        command = command_above(block)
        response = asyncio.run(execute(command, SCENES[(*block.arguments, "plain")[0]]()))
        values = [json.loads(line) for line in response.text.splitlines()]
        made.extend((command.method, command.target, value) for value in values)
        return ""

    rewrite(API, {**dict.fromkeys(generate.RENDERERS, lambda block: ""), "reply": note})
    return tuple(made)


def test_every_native_and_operations_route_has_an_executed_example() -> None:
    described = {
        (method.upper(), re.sub(r"\{\w+\}", "demo", path))
        for path, operations in openapi()["paths"].items()
        for method, operation in operations.items()
        if set(operation["tags"]) & set(DESCRIBED_TAGS)
    }
    executed = {(method, address) for method, address, _ in exchanges()}

    assert described - executed == {("GET", "/metrics")}  # its reply is a table of operations.md


def test_every_field_of_every_reply_is_explained() -> None:
    seen = {name for _, _, reply in exchanges() for name in _names(reply)}
    explained = set(re.findall(r"`(\w+)`", API))

    assert len(seen) > 50
    assert seen - explained == set()


def test_every_request_field_has_a_meaning() -> None:
    schemas = openapi()["components"]["schemas"]
    shown = re.findall(r"<!-- generated: fields (\w+) -->", API)
    silent = [
        f"{name}.{field}"
        for name in shown
        for field, about in schemas[name]["properties"].items()
        if not about.get("description")
    ]

    assert len(shown) == 5
    assert silent == []


def test_every_header_the_edge_speaks_of_is_explained() -> None:
    sources = (generate.FOLDER.parent / "service" / "api").rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    headers = set(re.findall(r'"((?:X-[A-Z][\w-]+)|Retry-After|WWW-Authenticate|Allow)"', text))
    headers -= {"X-Content-Type-Options"}  # of the page, for browsers

    assert {"X-Request-Id", "X-Run-Id", "Retry-After"} <= headers
    assert {name for name in headers if f"`{name}" not in ALL_PAGES} == set()


def test_every_error_of_a_pair_is_one_that_callers_may_see() -> None:
    assert set(OF_A_PAIR) <= set(served_errors())


def test_every_metric_named_in_a_query_exists() -> None:
    exposed = {sample.name for family in families() for sample in family.samples}
    named = set(re.findall(r"reward_server_\w+", OPERATIONS)) - {family.name for family in families()}

    assert len(named) > 8
    assert named - exposed == set()


def test_every_metric_has_labels_and_words() -> None:
    for family in families():
        assert family.samples, family.name
        assert family.documentation.endswith("."), family.name


@pytest.mark.parametrize("name", generate.PAGES)
def test_every_link_to_a_file_or_section_leads_somewhere(name: str) -> None:
    text = (generate.FOLDER / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]*)(?:#([\w-]+))?\)", text)

    assert links
    for file, section in links:
        target = generate.FOLDER / (file or name)
        assert target.is_file(), file
        heads = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert not section or section in {_anchor(head) for head in heads}, section


def _anchor(head: str) -> str:
    return re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")


def _names(value: Any) -> set[str]:
    """All field names of a reply, without those of free-form maps."""
    if isinstance(value, list):
        return set().union(*map(_names, value))
    if not isinstance(value, dict):
        return set()
    inner = (_names(item) for name, item in value.items() if name not in FREE_FORM)
    return set(value).union(*inner)
