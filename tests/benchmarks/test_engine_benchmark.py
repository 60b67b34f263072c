"""The engine's benchmark runs, agrees with its oracle and needs no web stack. Its timings are asserted nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.engine_costs import freed
from service.scheduling.packing import FrameBuilder
from tests.engine.models import served
from tests.pairs import encoded, job

ROOT = Path(__file__).parents[2]
WITHOUT_WEB_STACK = """
import sys
for name in ("fastapi", "pydantic", "uvicorn", "httpx", "prometheus_client", "orjson"):
    sys.modules[name] = None
from benchmarks.engine import main
main(["--shape", "tiny", "--pairs", "16", "--repeats", "1", "--workloads", "rlhf-group", "rerank", "--memory",
      "--costs"])
"""


def test_a_dry_run_on_the_cpu_reports_every_side_and_agrees_with_one_at_a_time():
    command = [sys.executable, "-c", WITHOUT_WEB_STACK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    for name, num_responses in (("rlhf-group", 8), ("rerank", 16)):
        workload = report["workloads"][name]
        assert set(workload["sides"]) == {"frames", "one at a time", "padded 16", "frames, free", "frames, fp8"}
        alone, frames = workload["sides"]["one at a time"], workload["sides"]["frames"]
        assert alone["computed_tokens"] == workload["tokens"]
        assert frames["computed_tokens"] < workload["tokens"]
        free, in_fp8 = workload["sides"]["frames, free"], workload["sides"]["frames, fp8"]
        assert free["computed_tokens"] == in_fp8["computed_tokens"] == frames["computed_tokens"]
        assert free["worst_difference"] < 2e-5
        assert in_fp8["worst_difference"] > 1e-3  # other weights
        assert workload["pairs"] % num_responses == 0
        # fp32 sums in another order; scores spread by about 1
        assert frames["worst_difference"] < 2e-5
        assert frames["share_of_ceiling"] > 0
        assert workload["ceiling_tokens_per_s"] > 0
    assert 0 < report["peak_memory_gib"]["warm"] <= report["peak_memory_gib"]["longest_and_short"]
    assert set(report["idle_ms"]) == {"frames", "frames, free", "frames, fp8", "one at a time"}
    assert min(report["idle_ms"].values()) > 0


def test_the_freed_engine_fills_nothing_up_and_is_itself_again_afterwards():
    engine = served("llama").engine
    pair = encoded([1, 2, 3], [4, 5])
    alone = served("llama").score([pair])
    sizes = engine.info().frame_sizes

    with freed(engine):
        frames = [engine._laid_out(frame_of(pair), engine._frame_sizes, only_read=True)]
    assert [tensors.input_ids.shape[1] for tensors in frames] == [5]
    assert engine._laid_out(frame_of(pair), sizes, only_read=True).input_ids.shape[1] == sizes[0]
    assert served("llama").score([pair]) == alone


def frame_of(pair):
    builder = FrameBuilder(1000)
    builder.try_add(job(0, pair))
    return builder.build().frame
