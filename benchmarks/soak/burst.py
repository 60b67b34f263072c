"""A rollout's burst against a server that is normal, full, slow, or whose worker is killed in the middle.

`python -m benchmarks.soak.burst`: 4,096 single-pair requests at once by each client's own loop. Every score must equal
its calm-weather value with ==; what a client's loop gives up on is counted. Ends in one JSON line; the exit status is
1 if a score was lost without being given up, came twice, or was another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.soak.clients import CLIENTS, GaveUp, Pair, Tries
from benchmarks.soak.server import Server, calm_scores, serving

WORDS = "the of and to in is you that it he was for on are as with his they at be this from".split(" ")  # noqa: SIM905

SCENES: dict[str, dict[str, Any]] = {
    "normal": {"flags": ()},
    "full": {"flags": ("--max-queue-pairs", "512", "--park-s", "0")},
    "full, parked": {"flags": ("--max-queue-pairs", "2048")},
    "slow": {"flags": (), "slow_s": 0.5},
    "killed": {"flags": ()},
}
"""Flags of the server, and what is done to it. `slow` delays every forward pass by half a second."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one burst."""

    equal: int
    other: int
    gave_up: int
    failures: dict[str, int]
    took_s: float
    livez_p50_ms: float
    livez_p99_ms: float
    livez_max_ms: float


def texts(num_pairs: int, seed: int) -> list[tuple[str, str]]:
    """Groups of eight responses to a prompt, in random words."""
    rng = random.Random(seed)
    prompts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 10))) for _ in range((num_pairs + 7) // 8)]
    return [(prompts[n // 8], f" {n} " + " ".join(rng.choices(WORDS, k=rng.randint(2, 8)))) for n in range(num_pairs)]


async def burst(server: Server, client: str, pairs: Sequence[Pair], calm: Sequence[float], kill: bool) -> Seen:
    """Asks for all pairs at once."""
    tries, got, num_done = Tries(), Counter[str](), 0
    began = time.monotonic()
    probe = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.soak.probe", str(server.port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    down: list[float] = []

    async with CLIENTS[client](server.port, tries) as score:

        async def one(pair: Pair, expected: float) -> None:
            nonlocal num_done
            try:
                value = await score(pair)
                got["equal" if value == expected else "other"] += 1
            except GaveUp:
                got["gave up"] += 1
            num_done += 1
            if kill and not down and num_done >= len(pairs) // 4:
                down.append(time.monotonic())
                server.kill_worker()

        await asyncio.gather(*(one(pair, expected) for pair, expected in zip(pairs, calm, strict=True)))
    took_s = time.monotonic() - began
    answered = json.loads((await probe.communicate(b""))[0])
    alive = sorted(1e3 * took for start, took in answered if took is not None and not _overlaps(start, took, down))
    return Seen(
        equal=got["equal"],
        other=got["other"],
        gave_up=got["gave up"],
        failures=tries.failures,
        took_s=round(took_s, 1),
        livez_p50_ms=round(statistics.median(alive), 1),
        livez_p99_ms=round(alive[int(0.99 * (len(alive) - 1))], 1),
        livez_max_ms=round(alive[-1], 1),
    )


def _overlaps(start: float, took: float, down: Sequence[float]) -> bool:
    """Whether no worker lived for a part of the time: the kill lies in it, or it began while none accepted."""
    return any(start <= moment <= start + took or (moment < start and took > 1.0) for moment in down)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every client in every scene, each with a server of its own."""
    prompts = texts(args.pairs, args.seed)
    report: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "pairs": args.pairs, "scenes": {}}
    for scene in args.scenes:
        report["scenes"][scene] = {}
        for client in args.clients:
            async with serving(*SCENES[scene]["flags"], slow_s=SCENES[scene].get("slow_s", 0.0)) as server:
                scores, rendered = await calm_scores(server, prompts)
                pairs = [Pair(*text, shown) for text, shown in zip(prompts, rendered, strict=True)]
                seen = await burst(server, client, pairs, scores, scene == "killed")
            report["scenes"][scene][client] = {name: getattr(seen, name) for name in Seen.__dataclass_fields__}
            sys.stdout.write(f"{scene:13} {client:10} {report['scenes'][scene][client]}\n")
            sys.stdout.flush()
    return report


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.burst", description=__doc__)
    parser.add_argument("--pairs", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS), choices=list(CLIENTS))
    report = asyncio.run(measure(parser.parse_args(arguments)))
    sys.stdout.write(json.dumps(report) + "\n")
    cells = [cell for clients in report["scenes"].values() for cell in clients.values()]
    return int(any(cell["other"] or cell["equal"] + cell["gave_up"] != report["pairs"] for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
