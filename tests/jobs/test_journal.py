import json

import pytest

from service.errors import SettingsError
from service.jobs.journal import Journal

JOB = {"input": "abc", "fingerprint": "sha256:0", "truncation": "error"}


def row(index, score=1.5):
    return {"index": index, "id": None, "score": score}


def written(folder):
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_results_come_out_in_input_order_and_the_journal_is_gone(tmp_path):
    journal = Journal(tmp_path / "out.jsonl", JOB)
    journal.append([row(2), row(0)])
    journal.append([row(1, score=0.1)])
    journal.finish()

    assert written(tmp_path) == [row(0), row(1, score=0.1), row(2)]
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_job_goes_on_where_it_was(tmp_path):
    first = Journal(tmp_path / "out.jsonl", JOB)
    first.append([row(3), row(1)])
    first.close()
    second = Journal(tmp_path / "out.jsonl", JOB)

    assert (3 in second, 1 in second, 0 in second, len(second)) == (True, True, False, 2)
    second.append([row(0), row(2)])
    second.finish()
    assert [line["index"] for line in written(tmp_path)] == [0, 1, 2, 3]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_line_cut_short_by_a_kill_is_computed_again(tmp_path, cut):
    journal = Journal(tmp_path / "out.jsonl", JOB)
    journal.append([row(0), row(1)])
    journal.close()
    partial = tmp_path / "out.jsonl.partial"
    whole = partial.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    partial.write_bytes(whole[: len(whole) - min(cut, last)])
    again = Journal(tmp_path / "out.jsonl", JOB)

    assert (0 in again, 1 in again) == (True, False)
    again.append([row(1)])
    again.finish()
    assert written(tmp_path) == [row(0), row(1)]


@pytest.mark.parametrize("changed", JOB)
def test_a_journal_of_another_job_is_refused_by_what_changed(tmp_path, changed):
    Journal(tmp_path / "out.jsonl", JOB).close()

    with pytest.raises(SettingsError, match=f"{changed} changed"):
        Journal(tmp_path / "out.jsonl", JOB | {changed: "other"})


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    (tmp_path / "out.jsonl.partial").write_text("my notes\n")

    with pytest.raises(SettingsError, match="not a job of ours"):
        Journal(tmp_path / "out.jsonl", JOB)

    assert (tmp_path / "out.jsonl.partial").read_text() == "my notes\n"
