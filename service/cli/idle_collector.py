"""Collects garbage while nobody waits: what abandoned requests leave in reference cycles goes soon, not some day.

Garbage collection is made rare for the sake of bursts (`serving`). So forty callers at a time who asked for a hundred
explained pairs each and never read left 70 MB that nothing looked at, again and again.
"""

from __future__ import annotations

import gc


class IdleCollector:
    """Collects once after requests, when none is under way. Models are frozen, so that there is little to look at."""

    def __init__(self) -> None:
        self._num_requests = 0

    def look(self, num_requests: int, num_under_way: int) -> None:
        """Takes note of the server's counts, and collects if there were requests since it last did and none is left."""
        if num_requests != self._num_requests and num_under_way == 0:
            gc.collect()
            self._num_requests = num_requests
