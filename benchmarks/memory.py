"""Peak memory of a server against the budget it printed at start-up: `python -m benchmarks.memory MODEL --minutes 20`.

Starts a server on this machine's processors, asks for one pair of the longest legal length together with 1,000 short
ones, then for `--minutes` for calls of pairs of random lengths, and reads the worker's peak of resident memory. Prints
one JSON line; exits with 1 if the peak exceeds the budget by more than 5 %. On an accelerator, `benchmarks.engine
--memory` asks the same of the engine, since a device's memory cannot be read from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.light_http import Connection
from benchmarks.peers.servers import Launch, Server, running
from benchmarks.serve_bodies import DEADLINE_MS

ALLOWED_EXCESS = 0.05
NUM_SHORT = 1_000
SHORT_TOKENS = 16
CONNECTIONS = 4
MAX_PAIRS_A_CALL = 16

Pair = dict[str, list[int]]


def pair_of(rng: random.Random, num_tokens: int, ids: range) -> Pair:
    """A pair of so many random tokens, given as ids so that none is added."""
    tokens = rng.choices(ids, k=num_tokens)
    split = rng.randint(1, max(1, num_tokens - 1))
    return {"prompt_ids": tokens[:split], "response_ids": tokens[split:]}


def longest_and_short(rng: random.Random, max_tokens: int, ids: range) -> list[Pair]:
    """One pair as long as is allowed, and a thousand short ones."""
    short = [pair_of(rng, rng.randint(1, SHORT_TOKENS), ids) for _ in range(NUM_SHORT)]
    return [pair_of(rng, max_tokens, ids), *short]


def random_call(rng: random.Random, max_tokens: int, ids: range) -> list[Pair]:
    """A few pairs, their lengths as likely between 1 and 10 tokens as between 100 and 1,000."""
    lengths = [round(math.exp(rng.uniform(0, math.log(max_tokens)))) for _ in range(rng.randint(1, MAX_PAIRS_A_CALL))]
    return [pair_of(rng, length, ids) for length in lengths]


async def score(connection: Connection, pairs: Sequence[Pair]) -> int:
    """Scores pairs and returns their tokens; raises unless all got a score."""
    body = json.dumps({"pairs": pairs, "deadline_ms": DEADLINE_MS}).encode()
    reply = json.loads(await connection.post("/v1/score", body))
    failed = [result["error"] for result in reply["results"] if "error" in result]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(pairs)} pairs have no score; the first: {failed[0]}")
    return int(reply["usage"]["tokens"])


async def random_lengths(url: str, max_tokens: int, ids: range, until_s: float) -> int:
    """Calls from several connections until the time has come; the tokens scored."""

    async def client(seed: int) -> int:
        rng, connection, tokens = random.Random(seed), await Connection.open(url), 0
        while time.monotonic() < until_s:
            tokens += await score(connection, random_call(rng, max_tokens, ids))
        connection.close()
        return tokens

    return sum(await asyncio.gather(*map(client, range(CONNECTIONS))))


async def measure(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    """Both loads, and the peak after each."""
    connection = await Connection.open(server.url)
    model = (await connection.get("/v1/info"))["models"][0]
    if model["device"] != "cpu":
        raise SystemExit(f"given a model on {model['device']}; allowed: cpu (see --help)")
    budget, ids = int(model["details"]["memory_budget_bytes"]), range(args.first_id, args.last_id + 1)
    peaks = {"ready": server.worker_peak_bytes()}
    tokens = await score(connection, longest_and_short(random.Random(args.seed), model["max_tokens"], ids))
    peaks["longest_and_short"] = server.worker_peak_bytes()
    connection.close()
    tokens += await random_lengths(server.url, model["max_tokens"], ids, time.monotonic() + args.minutes * 60)
    peaks["random_lengths"] = server.worker_peak_bytes()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "model": model["id"],
        "max_tokens": model["max_tokens"],
        "minutes": args.minutes,
        "tokens": tokens,
        "budget_bytes": budget,
        "peak_bytes": peaks,
        "peak_of_budget": round(peaks["random_lengths"] / budget, 4),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--minutes", type=float, default=20.0, help="of random lengths (20)")
    parser.add_argument("--first-id", type=int, default=10, help="ids of the texts are drawn from here (10)")
    parser.add_argument("--last-id", type=int, default=300, help="to here (300): below the special ids or above them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", default="", help="more flags for reward-server serve, in one word")
    args = parser.parse_args(arguments)
    words = [sys.executable, "-c", "from service.cli import main; main()", "serve", args.model, "--port", "{port}"]
    launch = Launch("reward-server", [*words, "--device", "cpu", *args.serve.split()], "/readyz")
    with tempfile.TemporaryDirectory() as folder, running(launch, Path(folder) / "log") as server:
        report = asyncio.run(measure(server, args))
    report["load_average"] = round(os.getloadavg()[0], 2)
    sys.stdout.write(json.dumps(report) + "\n")
    if report["peak_of_budget"] > 1 + ALLOWED_EXCESS:
        sys.exit(1)


if __name__ == "__main__":
    main()
