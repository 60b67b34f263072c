"""A running server over HTTP: `make serve`, then `python -m benchmarks.serve --url http://127.0.0.1:8000`.

Each workload is sent twice a repeat, as single-pair requests from `--clients` connections and as calls of 32 pairs,
as text of random words, fresh each time so that no cache of an earlier repeat answers. Then: a lone short pair against
the engine's own time for it, and `--burst` single-pair requests at once against one request of as many pairs.
Client and server share this machine's processors: the client's share is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from benchmarks.workloads import WORKLOADS, pairs_of
from service.types import EncodedPair

PAIRS_A_CALL = 32
IDLE_CALLS = 40
SHORT_TOKENS = 24
WORDS = "the of and to in is you that it he was for on are as with his they at".split(" ")  # noqa: SIM905
"""Common words, about a token each in most vocabularies."""


@dataclass(slots=True)
class Load:
    """Clients of one server, one connection each: httpcore's pool costs a request in proportion to its connections."""

    url: str
    num_clients: int

    async def send(self, calls: Sequence[Sequence[EncodedPair]]) -> tuple[float, int, int]:
        """Seconds until every call is answered, the tokens of all pairs, and those computed for them."""
        places = iter(calls)
        started = time.perf_counter()
        usages = await asyncio.gather(*(self._client(places) for _ in range(min(self.num_clients, len(calls)))))
        took_s = time.perf_counter() - started
        return took_s, sum(tokens for tokens, _ in usages), sum(computed for _, computed in usages)

    async def _client(self, calls: Iterator[Sequence[EncodedPair]]) -> tuple[int, int]:
        tokens = computed = 0
        async with httpx.AsyncClient(base_url=self.url, timeout=600) as client:
            for pairs in calls:
                usage = (await score(client, pairs))["usage"]
                tokens, computed = tokens + usage["tokens"], computed + usage["computed_tokens"]
        return tokens, computed


async def score(client: httpx.AsyncClient, pairs: Sequence[EncodedPair]) -> dict[str, Any]:
    """The reply to one call; raises unless every pair has a score."""
    body = {"pairs": [_text(pair) for pair in pairs]}
    reply = await client.post("/v1/score", content=json.dumps(body), headers={"Content-Type": "application/json"})
    reply.raise_for_status()
    parsed: dict[str, Any] = reply.json()
    failed = [result["error"] for result in parsed["results"] if "error" in result]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(pairs)} pairs have no score; the first: {failed[0]}")
    return parsed


def _text(pair: EncodedPair) -> dict[str, str]:
    """A word for each of the pair's ids: text, so that the model's template marks where its prompt ends."""
    words = [WORDS[token] for token in pair.ids]
    return {"prompt": " ".join(words[: pair.prompt_tokens]), "response": " ".join(words[pair.prompt_tokens :])}


async def workload(load: Load, name: str, args: argparse.Namespace, seeds: count[int]) -> dict[str, Any]:
    """Pairs a second of both ways to send a workload, medians over interleaved repeats."""
    sizes = {"single": 1, f"{PAIRS_A_CALL} a call": PAIRS_A_CALL}
    seconds: dict[str, list[float]] = {way: [] for way in sizes}
    shares: dict[str, float] = {}
    for _ in range(args.repeats):
        for way, size in sizes.items():
            pairs = pairs_of(name, args.pairs, len(WORDS), next(seeds))
            took_s, tokens, computed = await load.send(
                [pairs[start : start + size] for start in range(0, len(pairs), size)]
            )
            seconds[way].append(took_s / len(pairs))
            shares[way] = computed / tokens
    return {
        way: {"pairs_per_s": round(1 / statistics.median(seconds[way]), 2), "computed_share": round(shares[way], 3)}
        for way in sizes
    }


async def idle_latency(load: Load, args: argparse.Namespace, seeds: count[int]) -> dict[str, float]:
    """Medians for a lone short pair: the whole call, and what of it the server's engine took."""
    totals, computes = [], []
    async with httpx.AsyncClient(base_url=load.url, timeout=60) as client:
        for _ in range(IDLE_CALLS):
            pair = pairs_of("chat", 1, len(WORDS), next(seeds))[0]
            short = EncodedPair(pair.ids[:SHORT_TOKENS], (0,), (0,), None, 8, SHORT_TOKENS - 8)
            started = time.perf_counter()
            reply = await score(client, [short])
            totals.append((time.perf_counter() - started) * 1e3)
            computes.append(reply["timings_ms"]["compute"])
    total, compute = statistics.median(totals), statistics.median(computes)
    return {"call_ms": round(total, 2), "compute_ms": round(compute, 2), "around_it_ms": round(total - compute, 2)}


async def burst(args: argparse.Namespace, seeds: count[int]) -> dict[str, float]:
    """How many times as long many single-pair requests at once take as one request of as many pairs."""
    alone, together = [], []
    for _ in range(args.repeats):
        pairs = pairs_of("chat", args.burst, len(WORDS), next(seeds))
        together.append((await Load(args.url, 1).send([pairs]))[0])
        pairs = pairs_of("chat", args.burst, len(WORDS), next(seeds))
        alone.append((await Load(args.url, args.clients).send([[pair] for pair in pairs]))[0])
    single, one = statistics.median(alone), statistics.median(together)
    return {"single_s": round(single, 2), "one_request_s": round(one, 2), "throughput_ratio": round(one / single, 3)}


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything, and what was measured on what."""
    async with httpx.AsyncClient(base_url=args.url, timeout=60) as client:
        model = (await client.get("/v1/models")).raise_for_status().json()["data"][0]
    load, seeds = Load(args.url, args.clients), count(args.seed)
    await workload(load, "chat", argparse.Namespace(**vars(args) | {"repeats": 1, "pairs": 8}), seeds)  # warm
    return {
        "date": time.strftime("%Y-%m-%d"),
        "model": model["id"],
        "fingerprint": model["fingerprint"],
        "clients": args.clients,
        "pairs": args.pairs,
        "repeats": args.repeats,
        "workloads": {name: await workload(load, name, args, seeds) for name in args.workloads},
        "idle": await idle_latency(load, args, seeds),
        "burst": await burst(args, seeds),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=32, help="connections that send single pairs (32)")
    parser.add_argument("--pairs", type=int, default=128, help="pairs of each workload (128)")
    parser.add_argument("--burst", type=int, default=1024, help="single-pair requests at once (1,024)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (3)")
    parser.add_argument("--seed", type=int, default=0, help="change it for other text on a server that has a cache (0)")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    report = asyncio.run(measure(parser.parse_args(arguments)))
    for name, ways in report["workloads"].items():
        for way, got in ways.items():
            line = (
                f"{name:11} {way:10} {got['pairs_per_s']:9.2f} pairs/s, {got['computed_share']:.0%} of tokens computed"
            )
            sys.stdout.write(line + "\n")
    sys.stdout.write(f"idle        {report['idle']}\nburst       {report['burst']}\n{json.dumps(report)}\n")


if __name__ == "__main__":
    main()
