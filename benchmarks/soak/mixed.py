"""Interactive calls while a bulk job runs: `python -m benchmarks.soak.mixed`.

Calm and busy rounds take turns. Calm: single pairs, one after the other, and the bulk job alone. Busy: both together.
The interactive median should rise by no more than two of the bulk job's frames; what the bulk job loses is reported
with a bootstrap interval. Prints each round to standard error, and ends in one JSON line with how busy the machine was
otherwise; the exit status is 1 if the median rose further.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from typing import Any

from benchmarks.soak.burst import texts
from benchmarks.soak.server import Server, serving


async def interactive(server: Server, until: asyncio.Event, number: int, seed: int) -> list[float]:
    """Seconds of single calls, a pause of 50 ms between them, until told to stop or so many were made."""
    took: list[float] = []
    for prompt, response in texts(number, seed):
        if until.is_set():
            break
        began = time.monotonic()
        reply = await server.ask("POST", "/v1/score", {"pairs": [{"prompt": prompt, "response": response}]})
        if reply.status != 200 or "score" not in reply.json()["results"][0]:
            raise RuntimeError(f"an interactive call failed: {reply.status} {reply.body[:200]!r}")
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
    return took


async def bulk(server: Server, num_pairs: int, a_request: int, seed: int) -> float:
    """Seconds of a bulk job, eight requests under way at a time."""
    pairs = [{"prompt": prompt, "response": response} for prompt, response in texts(num_pairs, seed)]
    slots = asyncio.Semaphore(8)

    async def send(part: list[dict[str, str]]) -> None:
        async with slots:
            body = {"pairs": part, "priority": "bulk"}
            reply = await server.ask("POST", "/v1/score", body, timeout_s=600)
            failed = [result for result in reply.json()["results"] if "score" not in result]
            if failed:
                raise RuntimeError(f"{len(failed)} bulk pairs have no score; the first: {failed[0]}")

    began = time.monotonic()
    await asyncio.gather(*(send(pairs[start : start + a_request]) for start in range(0, num_pairs, a_request)))
    return time.monotonic() - began


async def one_round(server: Server, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Calm calls, the bulk job alone, and both together."""
    calm = await interactive(server, asyncio.Event(), args.calm_calls, seed)
    start = await frames_of(server)
    alone_s = await bulk(server, args.pairs, args.a_request, seed + 1)
    between = await frames_of(server)
    is_over = asyncio.Event()
    calls = asyncio.create_task(interactive(server, is_over, 100_000, seed + 2))
    together_s = await bulk(server, args.pairs, args.a_request, seed + 3)
    is_over.set()
    busy = await calls
    end = await frames_of(server)
    return {
        "calm": calm,
        "busy": busy,
        "alone_s": alone_s,
        "together_s": together_s,
        "frame_s": (between[1] - start[1]) / (between[0] - start[0]),
        "frame_together_s": (end[1] - between[1]) / (end[0] - between[0]),
        "load_average": round(os.getloadavg()[0], 1),
    }


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Calm and busy rounds in turn on one server."""
    rounds = []
    load_before = round(os.getloadavg()[0], 1)
    async with serving("--default-timeout-s", "600") as server:
        for number in range(args.rounds):
            rounds.append(await one_round(server, args, 10 * number))
            shown = {name: round(value, 3) for name, value in rounds[-1].items() if isinstance(value, float)}
            medians = {f"{name}_ms": quantiles_ms(rounds[-1][name]) for name in ("calm", "busy")}
            sys.stderr.write(f"{json.dumps({**shown, **medians})}\n")
    calm = [seconds for each in rounds for seconds in each["calm"]]
    busy = [seconds for each in rounds for seconds in each["busy"]]
    frame_s = statistics.fmean(each["frame_s"] for each in rounds)
    allowed_s = statistics.median(calm) + 2 * frame_s
    alone, together = ([each[name] for each in rounds] for name in ("alone_s", "together_s"))
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "cores": os.cpu_count(),
        "load_average_before": load_before,
        "bulk_pairs": args.pairs,
        "a_request": args.a_request,
        "rounds": args.rounds,
        "calm_ms": quantiles_ms(calm),
        "busy_ms": quantiles_ms(busy),
        "bulk_frame_ms": round(1e3 * frame_s, 1),
        "bulk_frame_together_ms": round(1e3 * statistics.fmean(each["frame_together_s"] for each in rounds), 1),
        "allowed_median_ms": round(1e3 * allowed_s, 1),
        "is_within": statistics.median(busy) <= allowed_s,
        "bulk_alone_s": [round(seconds, 1) for seconds in alone],
        "bulk_together_s": [round(seconds, 1) for seconds in together],
        "bulk_loss": loss_interval(alone, together),
    }


async def frames_of(server: Server) -> tuple[float, float]:
    """How many forward passes there have been, and their seconds in all."""
    samples = await server.metrics()
    name = 'reward_server_frame_seconds_{}{{model="demo"}}'
    return samples[name.format("count")], samples[name.format("sum")]


def quantiles_ms(seconds: list[float]) -> dict[str, float]:
    """Median, 95th percentile and slowest in milliseconds."""
    ordered = sorted(seconds)
    return {
        "num": len(ordered),
        "median": round(1e3 * statistics.median(ordered), 1),
        "p95": round(1e3 * ordered[int(0.95 * (len(ordered) - 1))], 1),
        "max": round(1e3 * ordered[-1], 1),
    }


def loss_interval(alone: list[float], together: list[float]) -> dict[str, float]:
    """How much longer the bulk job takes beside interactive calls, with a 95 % bootstrap interval over rounds."""
    rng = random.Random(0)
    ratios = [b / a - 1 for a, b in zip(alone, together, strict=True)]
    means = sorted(statistics.fmean(rng.choices(ratios, k=len(ratios))) for _ in range(4000))
    return {
        "mean": round(statistics.fmean(ratios), 3),
        "low": round(means[100], 3),
        "high": round(means[-101], 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.mixed", description=__doc__)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--a-request", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calm-calls", type=int, default=60, help="single calls in each calm round")
    report = asyncio.run(measure(parser.parse_args(arguments)))
    sys.stdout.write(json.dumps(report) + "\n")
    return int(not report["is_within"])


if __name__ == "__main__":
    sys.exit(main())
