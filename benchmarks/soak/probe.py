"""Asks /livez every 50 ms from a process of its own, so that a busy client does not slow the measurement.

`python -m benchmarks.soak.probe PORT` prints, once its standard input is closed, one JSON list of [start, seconds] for
each answer, and [start, null] where there was none.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

EVERY_S = 0.05


def main(port: int) -> None:
    """Asks until told to stop."""
    samples: list[tuple[float, float | None]] = []
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        began = time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/livez")
            is_alive = connection.getresponse().status == 200
            connection.close()
        except OSError:
            is_alive = False
        samples.append((began, time.monotonic() - began if is_alive else None))
    sys.stdout.write(json.dumps(samples))


if __name__ == "__main__":
    main(int(sys.argv[1]))
