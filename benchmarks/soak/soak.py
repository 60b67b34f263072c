"""Minutes of mixed traffic against one server: `python -m benchmarks.soak.soak --minutes 20`.

Single pairs, batches, NDJSON, ranks, trainers' routes, calls that are abandoned and bodies that are malformed, from
several callers. At the end the server's counters must equal what the callers counted, every score its calm value, and
resident memory what it was after warm-up. Ends in one JSON line; exit status 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soak.burst import texts
from benchmarks.soak.http import Broken, request_bytes
from benchmarks.soak.server import Server, calm_scores, serving

WARM_UP_SHARE = 0.2
"""Of the time: caches fill, allocators find their size; growth is counted from there."""

MEMORY_GROWTH = 0.02


@dataclass
class Callers:
    """What the callers sent, and what came of it."""

    server: Server
    texts: Sequence[tuple[str, str]]
    calm: Sequence[float]
    rng: random.Random
    scored: int = 0
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0

    def choose(self, number: int) -> list[int]:
        """Places of so many of the texts."""
        return self.rng.sample(range(len(self.texts)), number)

    def check(self, place: int, score: float) -> None:
        """Counts one score that came."""
        self.scored += 1
        self.wrong += score != self.calm[place]

    async def post(self, path: str, body: object, status: int = 200) -> Any:
        """One request that must end in this status."""
        reply = await self.server.ask("POST", path, body)
        self.requests[f"{path} {reply.status}"] += 1
        if reply.status != status:
            raise RuntimeError(f"{path}: {reply.status} instead of {status}: {reply.body[:300]!r}")
        return reply.json() if b"\n" not in reply.body.strip() else reply.body


def pair_of(text: tuple[str, str]) -> dict[str, str]:
    """A native pair."""
    return {"prompt": text[0], "response": text[1]}


async def single(callers: Callers) -> None:
    """One pair."""
    (place,) = callers.choose(1)
    reply = await callers.post("/v1/score", {"pairs": [pair_of(callers.texts[place])]})
    callers.check(place, reply["results"][0]["score"])


async def batch(callers: Callers) -> None:
    """Up to sixty-four pairs, one of which cannot be scored."""
    places = callers.choose(callers.rng.randint(2, 64))
    pairs = [*(pair_of(callers.texts[place]) for place in places), {"prompt": "", "response": "x"}]
    results = (await callers.post("/v1/score", {"pairs": pairs, "priority": "bulk"}))["results"]
    for place, result in zip(places, results, strict=False):
        callers.check(place, result["score"])
    callers.errors[results[-1]["error"]["code"]] += 1


async def lines(callers: Callers) -> None:
    """A stream of lines."""
    places = callers.choose(callers.rng.randint(2, 32))
    body = {"pairs": [pair_of(callers.texts[place]) for place in places]}
    reply = await callers.server.ask_lines("/v1/score", body)
    callers.requests["/v1/score 200"] += 1
    for line in reply:
        if "index" in line:
            callers.check(places[line["index"]], line["score"])


async def rank(callers: Callers) -> None:
    """The responses to one prompt, best first."""
    first = callers.rng.randrange(len(callers.texts) // 8) * 8
    places = range(first, first + 8)
    body = {"prompt": callers.texts[first][0], "responses": [callers.texts[place][1] for place in places]}
    for result in (await callers.post("/v1/rank", body))["results"]:
        callers.check(first + result["index"], result["score"])


async def trainer(callers: Callers) -> None:
    """OpenRLHF's and slime's calls."""
    (place,) = callers.choose(1)
    prompt, response = callers.texts[place]
    if callers.rng.random() < 0.5:
        body: dict[str, object] = {"query": [prompt + response], "prompts": [prompt], "labels": [None]}
        callers.check(place, (await callers.post("/get_reward", body))["rewards"][0])
    else:
        callers.check(place, await callers.post("/slime", {"prompt": prompt, "response": response}))


async def malformed(callers: Callers) -> None:
    """Bodies that are no request."""
    body, status = callers.rng.choice(
        [(b'{"pairs": [', 400), (b'{"pairs": 3}', 422), (b"\xff\xfe", 400), (b'{"pairs": [], "pears": 1}', 422)]
    )
    await callers.post("/v1/score", body, status)


async def abandoned(callers: Callers) -> None:
    """A call whose caller is gone before the reply."""
    places = callers.choose(4)
    body = json.dumps({"pairs": [pair_of(callers.texts[place]) for place in places]}).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", callers.server.port)
    writer.write(request_bytes("POST", "/v1/score", body))
    await writer.drain()
    await asyncio.sleep(callers.rng.random() * 0.02)
    writer.transport.abort()
    callers.abandoned += len(places)


KINDS: dict[Callable[[Callers], Awaitable[None]], int] = {
    single: 8,
    batch: 4,
    lines: 3,
    rank: 3,
    trainer: 6,
    malformed: 2,
    abandoned: 2,
}
"""What callers do, and how often."""


async def call_until(callers: Callers, end_s: float) -> None:
    """One caller's work."""
    while time.monotonic() < end_s:
        (kind,) = callers.rng.choices(list(KINDS), list(KINDS.values()))
        await kind(callers)


async def watch_memory(server: Server, end_s: float, samples: list[tuple[float, float, int]]) -> None:
    """Notes memory and descriptors every few seconds."""
    while time.monotonic() < end_s:
        samples.append((time.monotonic(), server.resident_mib, server.num_descriptors))
        await asyncio.sleep(2)


def counted(metrics: dict[str, float], before: dict[str, float], prefix: str) -> dict[str, float]:
    """How much counters whose name begins so have grown."""
    grown = {name: value - before.get(name, 0) for name, value in metrics.items() if name.startswith(prefix)}
    return {name: value for name, value in grown.items() if value}


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Warms up, soaks, and compares."""
    async with serving() as server:
        prompts = texts(2048, args.seed)
        calm, _ = await calm_scores(server, prompts)
        before, began = await server.metrics(), time.monotonic()
        end_s = began + 60 * args.minutes
        callers = Callers(server, prompts, calm, random.Random(args.seed))
        memory: list[tuple[float, float, int]] = []
        watch = asyncio.create_task(watch_memory(server, end_s, memory))
        await asyncio.gather(*(call_until(callers, end_s) for _ in range(args.callers)))
        await watch
        await asyncio.sleep(2)
        after = await server.metrics()
    return report_of(args, callers, memory, began, before, after)


def report_of(
    args: argparse.Namespace,
    callers: Callers,
    memory: Sequence[tuple[float, float, int]],
    began: float,
    before: dict[str, float],
    after: dict[str, float],
) -> dict[str, Any]:
    """What was seen, and what was otherwise than it should be."""
    warm_s = began + WARM_UP_SHARE * 60 * args.minutes
    warm = [mib for moment, mib, _ in memory if moment >= warm_s]
    tenth = max(1, len(warm) // 10)
    first, last = sum(warm[:tenth]) / tenth, sum(warm[-tenth:]) / tenth
    grown = counted(after, before, "reward_server_pairs_total")
    pairs = {name.partition('outcome="')[2].rstrip('"}'): number for name, number in grown.items()}
    given_up = pairs.get("cancelled", 0.0)
    scored_for_nobody = pairs.get("score", 0.0) - callers.scored
    checks = {
        "every score equals its calm value": callers.wrong == 0,
        # Of an abandoned call the server may have seen nothing: what a reset finds unread is lost with the connection.
        "the server's scores are the callers', and no more than those of abandoned calls": scored_for_nobody >= 0
        and scored_for_nobody + given_up <= callers.abandoned,
        "the server's errors of pairs are the callers'": all(
            pairs.get(code) == number for code, number in callers.errors.items()
        ),
        "resident memory": last <= first * (1 + MEMORY_GROWTH),
        "descriptors": memory[-1][2] <= memory[0][2] + args.callers + 5,
    }
    return {
        "date": time.strftime("%Y-%m-%d"),
        "minutes": args.minutes,
        "requests": sum(callers.requests.values()),
        "scores": callers.scored,
        "abandoned_pairs": callers.abandoned,
        "server_pairs": pairs,
        "resident_mib": [round(first, 1), round(last, 1)],
        "growth": round(last / first - 1, 4),
        "descriptors": [memory[0][2], memory[-1][2]],
        "checks": checks,
    }


def main(arguments: list[str] | None = None) -> int:
    """Soaks for as long as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    try:
        report = asyncio.run(measure(parser.parse_args(arguments)))
    except Broken as error:
        sys.stdout.write(f"a connection broke: {error}\n")
        return 1
    sys.stdout.write(json.dumps(report) + "\n")
    return int(not all(report["checks"].values()))


if __name__ == "__main__":
    sys.exit(main())
