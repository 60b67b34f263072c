"""The HTTP benchmark runs against a real server and counts what the server counts."""

from __future__ import annotations

import json

import pytest

from benchmarks.serve import main
from tests.end_to_end.process import running

pytestmark = pytest.mark.long


def test_a_small_run_reports_every_part(tmp_path, capsys):
    with running(tmp_path / "log", "demo") as server:
        main(["--url", server.url, "--pairs", "16", "--repeats", "1", "--burst", "8", "--clients", "4"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["model"] == "demo"
    assert report["workloads"]["chat"]["32 a call"]["computed_share"] == 1.0
    assert report["workloads"]["rerank"]["32 a call"]["computed_share"] < 0.25
    assert {"call_ms", "compute_ms", "around_it_ms"} == set(report["idle"])
    assert report["burst"]["throughput_ratio"] > 0
