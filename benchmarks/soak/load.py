"""One client's burst, in a process of its own that gives way to everyone else's: `python -m benchmarks.soak.load`.

Reads one JSON object from standard input: `port`, `client`, `limit_s`, and `pairs` of [prompt, response, rendered text,
calm score]. Writes one letter when a quarter of them is done, then one JSON object of what came of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from benchmarks.soak.clients import CLIENTS, GaveUp, Pair, Tries
from benchmarks.soak.http import AnsweredTwice

NICENESS = 5
"""A trainer is on another machine; here it must not take the processor from the server that is measured."""

QUARTER = b"q"


@dataclass(slots=True)
class Outcomes:
    """What came of a burst's pairs, each counted once.

    Attributes:
        equal: Scores equal to the calm one.
        other: Numbers that are not it: invented.
        twice: Answered with more than one reply.
        gave_up: Left without a score by the client's own loop.
        lost: None of these within the time.
        failures: Failed tries, by kind.
    """

    equal: int = 0
    other: int = 0
    twice: int = 0
    gave_up: int = 0
    lost: int = 0
    took_s: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


async def load(port: int, client: str, pairs: list[tuple[Pair, float]], limit_s: float) -> Outcomes:
    """Asks for all pairs at once, for no longer than `limit_s`."""
    tries, got = Tries(), Counter[str]()
    began_s = time.monotonic()
    async with CLIENTS[client](port, tries) as score:

        async def one(pair: Pair, calm: float) -> None:
            try:
                got["equal" if await score(pair) == calm else "other"] += 1
            except GaveUp:
                got["gave_up"] += 1
            except AnsweredTwice:
                got["twice"] += 1
            if got.total() == len(pairs) // 4:
                os.write(1, QUARTER)

        tasks = [asyncio.create_task(one(pair, calm)) for pair, calm in pairs]
        done, left = await asyncio.wait(tasks, timeout=limit_s)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in done:
            task.result()
    took_s = round(time.monotonic() - began_s, 1)
    return Outcomes(**got, lost=len(pairs) - got.total(), took_s=took_s, failures=tries.failures)


def main() -> None:
    """Makes the burst that standard input describes."""
    os.nice(NICENESS)
    told = json.load(sys.stdin)
    pairs = [(Pair(prompt, response, rendered), calm) for prompt, response, rendered, calm in told["pairs"]]
    outcomes = asyncio.run(load(told["port"], told["client"], pairs, told["limit_s"]))
    os.write(1, json.dumps(asdict(outcomes)).encode())


if __name__ == "__main__":
    main()
