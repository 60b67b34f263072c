"""A running server over HTTP: `make serve`, then `python -m benchmarks.serve --url http://127.0.0.1:8000`.

Each workload is sent twice a repeat, as single-pair requests from `--clients` connections and as calls of 32 pairs,
as text that is new each time. Then: a lone short pair against the forward that the server's engine made for it, and
`--burst` single-pair requests at once against one request of as many pairs of the same lengths. Client and server
share this machine's processors; `client_cpu_s` says how much of them the client took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.light_http import Connection, Lone, close, connect, own_cpu_s, post_all
from benchmarks.peers.servers import cpu_s_of
from benchmarks.serve_bodies import Pair, bodies, pairs_of, short_pair, source_of
from benchmarks.workloads import WORKLOADS

PAIRS_A_CALL = 32
IDLE_CALLS = 300
CONVERSATIONS = "conversations"


async def workload(source: Callable[[int, int], list[Pair]], args: argparse.Namespace, seeds: count[int]) -> Any:
    """Pairs a second of both ways to send a workload, medians and ranges over interleaved repeats."""
    sizes = {"single": 1, f"{PAIRS_A_CALL} a call": PAIRS_A_CALL}
    rates: dict[str, list[float]] = {way: [] for way in sizes}
    shares: dict[str, float] = {}
    for _ in range(args.repeats):
        for way, size in sizes.items():
            calls = bodies(source(args.pairs, next(seeds)), size)
            started = time.perf_counter()
            results, usage = _read(await post_all(args.url, "/v1/score", calls, args.clients))
            rates[way].append(len(results) / (time.perf_counter() - started))
            shares[way] = usage["computed_tokens"] / usage["tokens"]
    return {
        way: {
            "pairs_per_s": round(statistics.median(rates[way]), 2),
            "range": [round(min(rates[way]), 2), round(max(rates[way]), 2)],
            "computed_share": round(shares[way], 3),
        }
        for way in sizes
    }


def _read(replies: Sequence[bytes]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """All results and the summed usage; raises unless every pair has a score."""
    parsed = [json.loads(reply) for reply in replies]
    results = [result for reply in parsed for result in reply["results"]]
    failed = [result["error"] for result in results if "error" in result]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(results)} pairs have no score; the first: {failed[0]}")
    usages = [reply["usage"] for reply in parsed]
    return results, {name: sum(usage[name] for usage in usages) for name in ("tokens", "computed_tokens")}


def idle_latency(args: argparse.Namespace, seeds: count[int]) -> dict[str, float]:
    """Medians for a lone short pair on a kept connection: the call, the frame that scored it, and the difference.

    `compute_ms` is the server's own: from handing the frame to the engine's thread until its rewards are back.
    `livez_ms` is a call that does nothing: what client, kernel and HTTP cost by themselves, a part of the difference.
    """
    calls, computes, probes = [], [], []
    connection = Lone(args.url)
    for _ in range(IDLE_CALLS):
        (body,) = bodies([short_pair(next(seeds))], 1)
        started = time.perf_counter()
        reply = connection.ask("POST", "/v1/score", body)
        calls.append((time.perf_counter() - started) * 1e3)
        computes.append(json.loads(reply)["timings_ms"]["compute"])
        started = time.perf_counter()
        connection.ask("GET", "/livez")
        probes.append((time.perf_counter() - started) * 1e3)
    connection.close()
    around = [call - compute for call, compute in zip(calls, computes, strict=True)]
    return {
        "call_ms": round(statistics.median(calls), 2),
        "compute_ms": round(statistics.median(computes), 2),
        "around_it_ms": round(statistics.median(around), 2),
        "around_it_p95_ms": round(statistics.quantiles(around, n=20)[-1], 2),
        "livez_ms": round(statistics.median(probes), 2),
    }


async def burst(args: argparse.Namespace, seeds: count[int]) -> dict[str, Any]:
    """Tokens a second of many single-pair requests at once, as a share of those of one request of as many pairs.

    Each request has a connection of its own, opened before the clock runs; the ratio is the median over the repeats,
    in each of which both have the same lengths in other words. `core_time_ratio` is the same by the processor time of
    the server and its client together, which a busy machine does not change; it needs `--pid`.
    """
    ones, singles = [], []
    for _ in range(args.repeats):
        (whole,) = bodies(pairs_of("chat", args.burst, next(seeds)), args.burst)
        ones.append(await _at_once(args, [whole]))
        singles.append(await _at_once(args, bodies(pairs_of("chat", args.burst, next(seeds)), 1)))
    both = list(zip(ones, singles, strict=True))
    ratios = [(single.tokens / single.took_s) / (one.tokens / one.took_s) for one, single in both]
    report = {
        "throughput_ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "requests": args.burst,
        "single_s": round(statistics.median(single.took_s for single in singles), 2),
        "one_request_s": round(statistics.median(one.took_s for one in ones), 2),
        "client_cpu_s": round(statistics.median(single.client_s for single in singles), 2),
    }
    if args.pid:
        ratios = [(single.tokens / single.core_s) / (one.tokens / one.core_s) for one, single in both]
        report["core_time_ratio"] = round(statistics.median(ratios), 3)
        report["core_time_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
    return report


@dataclass(frozen=True, slots=True)
class Took:
    """What a burst took: seconds from the first byte to the last reply, tokens computed, processor seconds."""

    took_s: float
    tokens: int
    client_s: float
    core_s: float


async def _at_once(args: argparse.Namespace, calls: Sequence[bytes]) -> Took:
    connections = await connect(args.url, len(calls))
    server = Path(f"/proc/{args.pid}")
    client_s, server_s, started = own_cpu_s(), cpu_s_of(server), time.perf_counter()
    replies = await asyncio.gather(
        *(connection.post("/v1/score", body) for connection, body in zip(connections, calls, strict=True))
    )
    took_s, client_s, server_s = time.perf_counter() - started, own_cpu_s() - client_s, cpu_s_of(server) - server_s
    close(connections)
    return Took(took_s, _read(replies)[1]["computed_tokens"], client_s, client_s + server_s)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that is asked for, and what was measured on what."""
    connection = await Connection.open(args.url)
    model = (await connection.get("/v1/models"))["data"][0]
    connection.close()
    seeds = count(args.seed)
    await post_all(args.url, "/v1/score", bodies(pairs_of("chat", 8, next(seeds)), 1), args.clients)  # warm
    workloads = {name: await workload(source_of(name, None), args, seeds) for name in args.workloads}
    if args.conversations:
        workloads[CONVERSATIONS] = await workload(source_of("", args.conversations), args, seeds)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "model": model["id"],
        "fingerprint": model["fingerprint"],
        "clients": args.clients,
        "pairs": args.pairs,
        "repeats": args.repeats,
        "workloads": workloads,
        "idle": idle_latency(args, seeds),
        "burst": await burst(args, seeds) if args.burst else None,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=32, help="connections that send single pairs (32)")
    parser.add_argument("--pairs", type=int, default=128, help="pairs of each workload (128)")
    parser.add_argument("--burst", type=int, default=1024, help="single-pair requests at once (1,024); 0: none")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (3)")
    parser.add_argument("--seed", type=int, default=0, help="change it for other text on a server that has a cache (0)")
    parser.add_argument("--workloads", nargs="*", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--pid", type=int, default=0, help="of the server's worker process, on this machine")
    parser.add_argument("--conversations", type=Path, help="real ones as well: a file in Nectar's layout")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measures what the command line asks for."""
    report = asyncio.run(measure(_parser().parse_args(arguments)))
    for name, ways in report["workloads"].items():
        for way, got in ways.items():
            low, high = got["range"]
            line = f"{name:13} {way:10} {got['pairs_per_s']:9.2f} pairs/s ({low:.2f} to {high:.2f})"
            sys.stdout.write(f"{line}, {got['computed_share']:.0%} of tokens computed\n")
    sys.stdout.write(f"idle          {report['idle']}\nburst         {report['burst']}\n{json.dumps(report)}\n")


if __name__ == "__main__":
    main()
