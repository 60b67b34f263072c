"""The loading benchmark runs on a small shape and reports what it promises. Its timings are asserted nowhere."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def test_a_dry_run_converts_loads_and_scores(tmp_path):
    command = [sys.executable, "-m", "benchmarks.load_7b", "--shape", "tiny", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert math.isfinite(report["load"]["score"])
    # aliases share storage in the pickle, and neither copies nor the vocabulary head are converted
    assert report["convert"]["converted_bytes"] < report["convert"]["published_bytes"]
    assert report["load"]["peak_anonymous_bytes"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["converted", "published"]
