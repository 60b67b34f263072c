"""A rollout's burst against a server that is normal, full, parking, slow, or whose worker is killed in the middle.

`python -m benchmarks.soak.burst`: 4,096 single-pair requests at once by each client's own loop, every client in every
scene. Every score must equal its calm-weather value with ==; what a client's loop gives up on is counted. Each cell is
written to `--out` when it is done, and a later run makes only those that are missing there; `--scenes` and `--clients`
choose some. Ends in the table and one JSON line; the exit status is 1 if a score was lost, came twice, or was another.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.soak.clients import CLIENTS
from benchmarks.soak.probe import Sample
from benchmarks.soak.server import Server, calm_scores, serving

WORDS = "the of and to in is you that it he was for on are as with his they at be this from".split(" ")  # noqa: SIM905

SCENES: dict[str, dict[str, Any]] = {
    "normal": {"flags": ()},
    "full": {"flags": ("--max-queue-pairs", "512", "--park-s", "0"), "slow_s": 0.5},
    "parked": {"flags": ("--max-queue-pairs", "512"), "slow_s": 0.5},
    "slow": {"flags": (), "slow_s": 0.5},
    "killed": {"flags": ()},
}
"""Flags of the server, and what is done to it. `slow_s` delays every forward pass."""

Cell = dict[str, Any]
"""What is known of one client in one scene; JSON."""


def texts(num_pairs: int, seed: int) -> list[tuple[str, str]]:
    """Groups of eight responses to a prompt, in random words."""
    rng = random.Random(seed)
    prompts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 10))) for _ in range((num_pairs + 7) // 8)]
    return [(prompts[n // 8], f" {n} " + " ".join(rng.choices(WORDS, k=rng.randint(2, 8)))) for n in range(num_pairs)]


async def burst(server: Server, client: str, pairs: Sequence[Sequence[Any]], limit_s: float, is_killed: bool) -> Cell:
    """Has another process ask for all pairs at once, and a third one ask whether the server is alive."""
    probe = await _start("benchmarks.soak.probe", str(server.port))
    load = await _start("benchmarks.soak.load")
    assert load.stdin is not None
    assert load.stdout is not None
    told = {"port": server.port, "client": client, "limit_s": limit_s, "pairs": pairs}
    load.stdin.write(json.dumps(told).encode())
    load.stdin.close()
    killed_s = None
    if await load.stdout.read(1) == b"q" and is_killed:
        killed_s = time.monotonic()
        server.kill_worker()
    outcomes = json.loads((await load.stdout.read()).lstrip(b"q"))
    samples = json.loads((await probe.communicate(b""))[0])
    return {**outcomes, "livez": livez(samples, killed_s)}


async def _start(module: str, *arguments: str) -> asyncio.subprocess.Process:
    words = (sys.executable, "-m", module, *arguments)
    return await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)


def livez(samples: Sequence[Sample], killed_s: float | None) -> dict[str, Any]:
    """How long answers took while a worker lived.

    Nobody can answer from the kill until the new worker's first answer, so what was asked within that time is left out,
    and its length is told. What is asked later counts, however slow.
    """
    down_s = up_s = 0.0
    if killed_s is not None:
        down_s = killed_s
        up_s = min(
            (due + took for due, took, _, is_answered in samples if is_answered and due > killed_s), default=1e99
        )
    alive = [sample for sample in samples if not (sample[0] < up_s and sample[0] + sample[1] >= down_s)]
    took = sorted(1e3 * took for _, took, _, is_answered in alive if is_answered)
    late = sorted(1e3 * late for _, _, late, _ in alive)
    return {
        "asked": len(alive),
        "unanswered": len(alive) - len(took),
        "p50_ms": round(statistics.median(took), 1),
        "p99_ms": round(quantile(took, 0.99), 1),
        "max_ms": round(took[-1], 1),
        "own_p99_ms": round(quantile(late, 0.99), 1),
        "down_s": round(up_s - down_s, 1),
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of sorted values does not pass."""
    return ordered[int(share * (len(ordered) - 1))]


async def measure(scene: str, clients: Sequence[str], args: argparse.Namespace, keep: Callable[[Cell], None]) -> None:
    """Clients in one scene, one after the other, with a server of their own."""
    prompts = texts(args.pairs, args.seed)
    async with serving(*SCENES[scene]["flags"], slow_s=SCENES[scene].get("slow_s", 0.0)) as server:
        scores, rendered = await calm_scores(server, prompts)
        pairs = [[*text, shown, score] for text, shown, score in zip(prompts, rendered, scores, strict=True)]
        for client in clients:
            await server.wait_ready()
            seen = await burst(server, client, pairs, args.limit_s, scene == "killed")
            made = {
                "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
                "load_average": round(os.getloadavg()[0], 1),
            }
            keep({"scene": scene, "client": client, "pairs": args.pairs, **made, **seen})


def is_sound(cell: Cell) -> bool:
    """Whether every pair has its calm score, or was given up by its client."""
    return not (cell["other"] or cell["twice"] or cell["lost"]) and cell["equal"] + cell["gave_up"] == cell["pairs"]


def table(cells: Sequence[Cell]) -> str:
    """All cells, as the table of docs/reliability.md."""
    heads = ("server", "client", "pairs", "equal", "other", "twice", "lost", "given up", "failed tries", "burst")
    rows = [[*heads, "`/livez` p50 / p99 / slowest", "of it the prober, p99"], ["---"] * 12]
    for cell in cells:
        probed = cell["livez"]
        counts = [f"{cell[name]:,}" for name in ("pairs", "equal", "other", "twice", "lost", "gave_up")]
        failures = ", ".join(f"{number:,} {kind}" for kind, number in cell["failures"].items()) or "0"
        times = " / ".join(f"{probed[name]:,.0f}" for name in ("p50_ms", "p99_ms", "max_ms"))
        ends = [f"{cell['took_s']:.0f} s", f"{times} ms", f"{probed['own_p99_ms']:.0f} ms"]
        rows.append([cell["scene"], cell["client"], *counts, failures, *ends])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line asks for and is not there yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.burst", description=__doc__)
    parser.add_argument("--pairs", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS), choices=list(CLIENTS))
    parser.add_argument("--limit-s", type=float, default=400.0, help="what has no outcome by then counts as lost")
    parser.add_argument("--out", type=Path, help="a JSONL file of cells; those that are there are not run again")
    args = parser.parse_args(arguments)
    is_kept = args.out is not None and args.out.exists()
    cells = [json.loads(line) for line in args.out.read_text().splitlines()] if is_kept else []

    def keep(cell: Cell) -> None:
        cells.append(cell)
        sys.stderr.write(f"{json.dumps(cell)}\n")
        if args.out is not None:
            with args.out.open("a") as file:
                file.write(json.dumps(cell) + "\n")

    for scene in args.scenes:
        made = {cell["client"] for cell in cells if cell["scene"] == scene}
        if missing := [client for client in args.clients if client not in made]:
            asyncio.run(measure(scene, missing, args, keep))
    sys.stdout.write(f"{table(cells)}\n{json.dumps(cells)}\n")
    return int(not all(map(is_sound, cells)))


if __name__ == "__main__":
    sys.exit(main())
