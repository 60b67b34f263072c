"""Where bulk requests wait for room in a full queue, before any of their work is done, rather than being refused.

A trainer that is refused sleeps and tries again, and gives up after a few tries; one that is parked just waits a
little longer. The lot holds as much as the queue itself may hold, so that it is no unbounded queue by another name;
clients wait in a line each, so that one whose share is used up does not keep others out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from service.errors import RewardServiceError
from service.scheduling.admission import Admission


@dataclass(eq=False, slots=True)
class _Parked:
    """A request at the gate; its future is done once its room is reserved."""

    num_pairs: int
    num_tokens: int
    client: str
    gate: asyncio.Future[None]


class ParkingLot:
    """Admits requests in front of an `Admission`, letting some wait. Everything that gives room back must `wake` it."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._lines: dict[str, deque[_Parked]] = {}
        self._num_pairs = 0
        self._num_tokens = 0

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    async def admit(self, num_pairs: int, num_tokens: int, client: str, wait_s: float) -> None:
        """Reserves room for a request, waiting up to `wait_s` seconds for it.

        Raises:
            Overloaded: If there was none in time, or the lot is full too; nothing was reserved.
        """
        if client not in self._lines and self._admission.try_admit(num_pairs, num_tokens, client):
            return
        if wait_s <= 0 or not self._has_room(num_pairs, num_tokens):
            raise self._admission.refusal(num_pairs, num_tokens)
        parked = _Parked(num_pairs, num_tokens, client, asyncio.get_running_loop().create_future())
        self._enter(parked)
        try:
            await asyncio.wait_for(asyncio.shield(parked.gate), wait_s)
        except TimeoutError:
            if not _is_admitted(parked):
                raise self._admission.refusal(num_pairs, num_tokens) from None
        except asyncio.CancelledError:
            if _is_admitted(parked):
                self._admission.release(num_pairs, num_tokens, client)
            raise
        finally:
            self._leave(parked)

    def wake(self) -> None:
        """Admits whoever fits now, in each client's order of arrival."""
        for line in list(self._lines.values()):
            while line and self._admission.try_admit(line[0].num_pairs, line[0].num_tokens, line[0].client):
                parked = line[0]
                self._leave(parked)
                parked.gate.set_result(None)

    def turn_away(self, error: RewardServiceError) -> None:
        """Refuses everyone who waits."""
        for line in list(self._lines.values()):
            for parked in list(line):
                self._leave(parked)
                parked.gate.set_exception(error)

    def _has_room(self, num_pairs: int, num_tokens: int) -> bool:
        limits = self._admission.limits
        return self._num_pairs + num_pairs <= limits.max_pairs and self._num_tokens + num_tokens <= limits.max_tokens

    def _enter(self, parked: _Parked) -> None:
        self._lines.setdefault(parked.client, deque()).append(parked)
        self._num_pairs += parked.num_pairs
        self._num_tokens += parked.num_tokens

    def _leave(self, parked: _Parked) -> None:
        """Takes a request out of its line, if it is there."""
        line = self._lines.get(parked.client)
        if line is None or parked not in line:
            return
        line.remove(parked)
        self._num_pairs -= parked.num_pairs
        self._num_tokens -= parked.num_tokens
        if not line:
            del self._lines[parked.client]


def _is_admitted(parked: _Parked) -> bool:
    return parked.gate.done() and not parked.gate.cancelled() and parked.gate.exception() is None
