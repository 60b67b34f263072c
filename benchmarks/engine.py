"""The engine alone, against plain transformers on the same weights: `python -m benchmarks.engine --help`.

Needs torch, transformers and this repository; no web stack, no download, any model shape. Prints a table of
medians and ratios, and one JSON line. The sides take turns inside each repeat, since machines are noisy, and so does
the matrix-product rate of the model's own shapes: `of ceiling` is the median over the repeats of a side's tokens/s by
what that rate, measured in the same repeat, allows. A side that shares prompts or leaves out rows that nobody reads
computes less than the ceiling counts, so it may come out above its true efficiency: judge by `chat`, which shares
nothing. `--memory` adds the peak of one pair of the longest legal length with 1,000 short ones (peaks hold the plain
sides' copy of the weights, too); `--costs` the engine freed of what keeps its bits, the same weights in fp8 (e4m3), and
how long a lone short pair takes in each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.workloads import WORKLOADS, longest_and_short, pairs_of
from service.numeric_mode import let_threads_sleep, set_deterministic_math

if TYPE_CHECKING:
    from benchmarks.engine_costs import Costs
    from benchmarks.engine_sides import Bench
    from service.types import EncodedPair

FRAMES = "frames"


def main(arguments: list[str] | None = None) -> None:
    """Measures what the command line asks for."""
    args = _parser().parse_args(arguments)
    set_deterministic_math(os.environ)
    let_threads_sleep(os.environ)
    import torch

    from benchmarks.engine_costs import Costs
    from benchmarks.engine_sides import SHAPES, build
    from benchmarks.gemm_ceiling import ceiling_tokens_per_s, flops_per_token
    from service.engine.memory import peak_bytes

    shape, dtype = SHAPES[args.shape], getattr(torch, args.dtype)
    bench = build(shape, dtype, args.device, args.frame_tokens, _say)
    rows = bench.engine.info().max_frame_tokens

    def ceiling() -> float:
        bench.use_threads(bench.num_threads)
        return ceiling_tokens_per_s(shape, dtype, args.device, rows)

    weights = sum(parameter.numel() * parameter.element_size() for parameter in bench.backbone.parameters())
    peaks = {"weights": weights, "warm": peak_bytes(args.device)}
    if args.memory:
        bench.frames(longest_and_short(shape.vocab))
        peaks["longest_and_short"] = peak_bytes(args.device)
    costs = Costs.of(bench, _say) if args.costs else None
    results = {
        name: _workload(bench, costs, pairs_of(name, args.pairs, shape.vocab), args, ceiling) for name in args.workloads
    }
    typical_ceiling = statistics.median(result["ceiling_tokens_per_s"] for result in results.values())
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if "cuda" in args.device else f"{platform.machine()} x {os.cpu_count()}",
        "torch": torch.__version__,
        "shape": args.shape,
        "dtype": args.dtype,
        "repeats": args.repeats,
        "ceiling_tokens_per_s": round(typical_ceiling),
        "peak_memory_gib": {when: round(peak / 2**30, 3) for when, peak in peaks.items()},
        "ceiling_tflops": round(typical_ceiling * flops_per_token(shape) / 1e12, 3),
        "frame_sizes": bench.engine.info().frame_sizes,
        "shortcuts": bench.engine.info().numeric_mode["shortcuts"],
    }
    if costs is not None:
        facts["idle_ms"] = costs.idle_ms(args.repeats, shape.vocab)
    _print_table(results)
    for side, took_ms in facts.get("idle_ms", {}).items():
        sys.stdout.write(f"a lone short pair, {side}: {took_ms:.2f} ms\n")
    sys.stdout.write(json.dumps(facts | {"workloads": results}) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--shape", default="small", choices=["tiny", "small", "llama-2-7b"])
    parser.add_argument("--device", default="cpu", help="cpu, cuda:0, …")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--frame-tokens", type=int, help="rows of the largest frame (default: as the server)")
    parser.add_argument("--pairs", type=int, default=64, help="pairs of each workload (64)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (3)")
    parser.add_argument("--batch-size", type=int, default=16, help="rows of the padded side (16)")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--memory", action="store_true", help="also the longest pair with 1,000 short ones")
    parser.add_argument(
        "--costs", action="store_true", help="also without stable bits, in fp8, and a lone pair in each"
    )
    return parser


def _workload(
    bench: Bench, costs: Costs | None, pairs: list[EncodedPair], args: argparse.Namespace, ceiling: Callable[[], float]
) -> dict[str, Any]:
    """Speeds, tokens and score differences of each side on one workload."""
    sides: dict[str, Callable[[], tuple[list[float], int]]] = {
        FRAMES: lambda: bench.frames(pairs),
        "one at a time": lambda: bench.one_at_a_time(pairs),
        f"padded {args.batch_size}": lambda: bench.padded(pairs, args.batch_size),
        **(costs.sides(pairs) if costs is not None else {}),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    last: dict[str, tuple[list[float], int]] = {}
    ceilings: list[float] = []
    for _ in range(args.repeats):
        ceilings.append(ceiling())
        for side, run in sides.items():
            started = time.perf_counter()
            last[side] = run()
            seconds[side].append(time.perf_counter() - started)
    oracle = last["one at a time"][0]
    num_tokens = sum(len(pair.ids) for pair in pairs)
    return {
        "pairs": len(pairs),
        "tokens": num_tokens,
        "ceiling_tokens_per_s": round(statistics.median(ceilings)),
        "sides": {side: _side(seconds[side], ceilings, *last[side], oracle=oracle) for side in sides},
    }


def _side(
    seconds: list[float], ceilings: list[float], scores: list[float], computed: int, oracle: list[float]
) -> dict[str, Any]:
    median_s = statistics.median(seconds)
    shares = [computed / took_s / ceiling for took_s, ceiling in zip(seconds, ceilings, strict=True)]
    return {
        "pairs_per_s": round(len(scores) / median_s, 2),
        "range": [round(len(scores) / max(seconds), 2), round(len(scores) / min(seconds), 2)],
        "computed_tokens": computed,
        "computed_tokens_per_s": round(computed / median_s),
        "share_of_ceiling": round(statistics.median(shares), 3),
        "worst_difference": max(abs(a - b) for a, b in zip(scores, oracle, strict=True)),
    }


def _print_table(results: dict[str, Any]) -> None:
    sys.stdout.write("workload    side             pairs/s  frames are  tokens/s of ceiling differs by\n")
    for name, result in results.items():
        ours = result["sides"][FRAMES]["pairs_per_s"]
        for side, got in result["sides"].items():
            sys.stdout.write(
                f"{name:11} {side:14} {got['pairs_per_s']:9.2f} {ours / got['pairs_per_s']:10.2f}x "
                f"{got['computed_tokens_per_s']:9d} {got['share_of_ceiling']:10.0%} {got['worst_difference']:10.1e}\n"
            )


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")


if __name__ == "__main__":
    main()
