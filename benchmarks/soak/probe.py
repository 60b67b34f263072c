"""Asks /livez every 50 ms from a process of its own, so that a busy client does not slow the measurement.

`python -m benchmarks.soak.probe PORT` prints, once its standard input is closed, one JSON list of [due, seconds,
lateness, answered]: when a probe was due, how long after that its answer came or its connection broke, how much later
than due this process got to send it, which is its own share, and which of the two it was. Probes go out on time whether
or not earlier ones were answered: a prober that waits for each answer meets a blocked server once where a steady one
meets it twenty times.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from benchmarks.soak.http import Broken, ask

EVERY_S = 0.05
TIMEOUT_S = 60.0

Sample = tuple[float, float, float, bool]
"""When a probe was due, seconds until its end, seconds until it was sent, whether it was answered; monotonic time."""


async def probe(port: int, until: asyncio.Event) -> list[Sample]:
    """Asks until told to stop, and then waits for the answers that are due."""
    samples: list[Sample] = []
    under_way: set[asyncio.Task[None]] = set()

    async def once(due_s: float) -> None:
        late_s = time.monotonic() - due_s
        try:
            is_alive = (await ask(port, "GET", "/livez", timeout_s=TIMEOUT_S)).status == 200
        except Broken:
            is_alive = False
        samples.append((due_s, time.monotonic() - due_s, late_s, is_alive))

    due_s = time.monotonic()
    while not until.is_set():
        task = asyncio.create_task(once(due_s))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        due_s += EVERY_S
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    await asyncio.gather(*under_way)
    return sorted(samples)


async def main(port: int) -> None:
    """Probes until standard input is closed."""
    until = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, until.set)
    sys.stdout.write(json.dumps(await probe(port, until)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
