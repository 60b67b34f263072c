import json

import pytest

from reward_client import Pair
from service.jobs.input_file import BadLine, InputFile, parse_line


def write(tmp_path, rows):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_every_form_of_a_pair_is_read_and_other_fields_are_left_alone():
    messages = [{"role": "user", "content": "hi"}]

    assert parse_line(b'{"prompt": "p", "response": "r", "id": 7, "source": "x"}') == Pair("p", "r", id="7")
    assert parse_line(json.dumps({"prompt": messages, "response": ""}).encode()) == Pair(messages, "")
    assert parse_line(b'{"prompt_ids": [1], "response_ids": []}') == Pair(prompt_ids=[1], response_ids=[])
    assert parse_line(b'{"rendered": "<s>x"}') == Pair(rendered="<s>x")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{oops", "not valid JSON"),
        (b"[1]", "must be a JSON object"),
        (b'{"prompt": "p"}', "a pair needs prompt and response"),
        (b'{"prompt": "p", "response": 3}', "'response' is 3"),
        (b'{"prompt": [{"role": "user"}], "response": ""}', "role and content"),
        (b'{"prompt_ids": [1, true], "response_ids": []}', "a list of token ids"),
        (b'{"prompt_ids": [-1], "response_ids": []}', "a list of token ids"),
        (b"\xff", "not valid JSON"),
    ],
)
def test_a_line_that_holds_no_pair_says_what_it_holds_and_what_is_allowed(line, words):
    with pytest.raises(BadLine, match=words):
        parse_line(line)


def test_blank_lines_do_not_count_and_each_pair_is_found_by_its_index(tmp_path):
    file = InputFile(write(tmp_path, ['{"prompt": "a", "response": "1"}\n', "\n", '{"prompt": "b", "response": "2"}']))

    assert len(file) == 2
    assert list(file.read([1, 0])) == [(1, Pair("b", "2")), (0, Pair("a", "1"))]


def test_the_order_keeps_prompts_together_and_like_sizes_near(tmp_path):
    long = "x" * 500
    rows = [{"prompt": p, "response": r} for p, r in [("a", long), ("b", "1"), ("a", "2"), ("c", "33"), ("b", "4")]]
    file = InputFile(write(tmp_path, rows))
    order = file.order()

    assert sorted(order) == list(range(5))
    assert abs(order.index(1) - order.index(4)) == 1
    assert abs(order.index(0) - order.index(2)) == 1
    assert set(order[-2:]) == {0, 2}


def test_another_byte_is_another_file(tmp_path):
    first = InputFile(write(tmp_path, [{"prompt": "a", "response": "1"}])).sha256

    assert InputFile(write(tmp_path, [{"prompt": "a", "response": "2"}])).sha256 != first
