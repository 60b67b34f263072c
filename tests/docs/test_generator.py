"""The generator notices what drifted, and refuses what it does not understand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs import generate
from docs._generate.curl import Command, parse
from docs._generate.fields import type_words
from docs._generate.page import Block, PageError, rewrite, table
from docs._generate.replies import WIDTH, layout

PAGE = "# Head\n<!-- generated: echo one two -->\nold\n<!-- end -->\nfoot\n"


def echo(block: Block) -> str:
    return f"{block.name} {block.arguments} {block.line} {block.before!r}"


def test_a_block_is_replaced_and_nothing_else() -> None:
    written = rewrite(PAGE, {"echo": echo})

    assert written == PAGE.replace("old", "echo ('one', 'two') 2 '# Head\\n'")
    assert rewrite(written, {"echo": echo}) == written


@pytest.mark.parametrize(
    "page",
    [PAGE.replace("<!-- end -->", ""), PAGE + "<!-- end -->", PAGE.replace("old", "<!-- generated: echo -->")],
    ids=["never closed", "closed twice", "nested"],
)
def test_marks_that_do_not_match_are_refused(page: str) -> None:
    with pytest.raises(PageError, match="every '<!-- generated: ' needs one"):
        rewrite(page, {"echo": echo})


def test_a_block_that_nobody_renders_is_refused_by_name() -> None:
    with pytest.raises(PageError, match="line 2: nobody renders 'echo'; allowed: other"):
        rewrite(PAGE, {"other": echo})


def test_the_check_shows_what_drifted_and_writing_mends_it(tmp_path: Path) -> None:
    true = "<!-- generated: settings -->\n" + generate.RENDERERS["settings"](Block("settings", (), "", 1))
    page = tmp_path / "page.md"
    page.write_text(true.replace("8000", "9999") + "\n<!-- end -->\n", encoding="utf-8")

    found = generate.differences(page)
    assert "-| `--port`<br>`REWARD_SERVER_PORT` | integer, 0 to 65535 | `9999`" in found
    assert "+| `--port`<br>`REWARD_SERVER_PORT` | integer, 0 to 65535 | `8000`" in found
    generate.differences(page, rewrite_page=True)
    assert page.read_text(encoding="utf-8") == true + "\n<!-- end -->\n"
    assert generate.differences(page) == ""


def test_a_command_is_read_as_curl_would_send_it() -> None:
    command = parse("curl -i http://127.0.0.1:8000/v1/score \\\n -H 'X-Run-Id: a b' -d '{\n}' | jq .usage.tokens")

    headers = (("X-Run-Id", "a b"), ("Content-Type", "application/x-www-form-urlencoded"))
    assert command == Command("POST", "/v1/score", headers, "{\n}", True, ("usage", "tokens"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("wget x", "not a curl command"),
        ("curl -k http://127.0.0.1:8000/", "'-k' is no option"),
        ("curl -s", "no address that begins with"),
        ("curl http://127.0.0.1:8000/ | sort", "only jq"),
        ("curl http://127.0.0.1:8000/ | jq '.a | keys'", "only jq"),
    ],
)
def test_a_command_that_the_generator_does_not_know_is_refused(command: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(command)


def test_laid_out_json_is_the_same_json_on_short_lines() -> None:
    value = {"short": [1, 2.5, None], "empty": [], "long": [{"name": "x" * 40, "score": index} for index in range(4)]}
    shown = layout(value)

    assert json.loads(shown) == value
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert len(shown.splitlines()) == 10


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}]}, "integer, 1 to 9"),
        ({"type": "array", "items": {"$ref": "#/x/PairBody"}}, "list of pairs"),
        ({"$ref": "#/x/Side"}, "`a` or `b`"),
        ({"type": "number", "exclusiveMinimum": 0}, "number, over 0"),
        ({"type": "string", "format": "path"}, "path"),
    ],
)
def test_a_schema_is_put_in_words(schema: dict[str, object], words: str) -> None:
    assert type_words(schema, {"Side": {"enum": ["a", "b"]}, "PairBody": {}}) == words


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table(("a",), ("x|y",)).splitlines()[-1] == "| x\\|y |"
