"""Rounds: every side once on one workload, one after the other, so that a noisy machine hits all alike.

While one side is measured all servers but its own are held still. The order moves on by one from round to round.
A round is written to the journal when it is whole; a run that was cut off goes on behind the last whole one.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.checkpoint import Text
from benchmarks.peers.sides import ALONE, CALLS, OURS, Side

COMPARED = 16
"""Texts of a round whose scores are compared with those of one pair at a time."""

Rates = dict[tuple[str, str], list[float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One side in one round."""

    side: str
    way: str
    pairs_per_s: float
    worst_difference: float


class Journal:
    """Whole rounds of a run, on disk if a path is given. Its first line says what was measured, and must stay so."""

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        """Opens or begins it.

        Raises:
            ValueError: If the file is of a run with other settings.
        """
        self._path = path
        self.rounds: dict[tuple[str, int], list[Measured]] = {}
        if path is None:
            return
        whole = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []  # the last may be cut short
        first, *rows = whole or [json.dumps(settings)]
        if json.loads(first) != settings:
            raise ValueError(f"{path} is of another run: {first}; this one is {json.dumps(settings)}")
        path.write_text("".join(line + "\n" for line in (first, *rows)))
        for row in map(json.loads, rows):
            self.rounds[row["workload"], row["round"]] = [Measured(**each) for each in row["measured"]]

    def add(self, workload: str, number: int, measured: list[Measured]) -> None:
        """Keeps a whole round."""
        self.rounds[workload, number] = measured
        if self._path is not None:
            rows = [{name: getattr(each, name) for name in Measured.__slots__} for each in measured]
            with self._path.open("a") as file:
                file.write(json.dumps({"workload": workload, "round": number, "measured": rows}) + "\n")


@contextmanager
def all_held(sides: Sequence[Side]) -> Iterator[None]:
    """Every server held still, until it is its turn."""
    servers = {side.server.name: side.server for side in sides if side.server}.values()
    for server in servers:
        server.hold()
    try:
        yield
    finally:
        for server in servers:
            server.go_on()


def run_round(sides: Sequence[Side], number: int, fresh: Callable[[int], list[Text]]) -> list[Measured]:
    """Every side once, on texts that no side has seen: one set for single pairs and groups, one for calls of 32.

    Args:
        fresh: Makes texts of a seed; their lengths are the same in every round.
    """
    singles, calls = fresh(2 * number), fresh(2 * number + 1)
    oracle = next((side for side in sides if side.name == ALONE), None)
    expected = {id(texts): oracle.scores(texts[:COMPARED]) if oracle else [] for texts in (singles, calls)}
    places = [(number + place) % len(sides) for place in range(len(sides))]
    measured = {}
    for place in places:
        texts = calls if sides[place].way == CALLS else singles
        measured[place] = _measure(sides[place], texts, expected[id(texts)])
    return [measured[place] for place in range(len(sides))]


def _measure(side: Side, texts: Sequence[Text], expected: Sequence[float]) -> Measured:
    if side.server:
        side.server.go_on()
    try:
        started = time.perf_counter()
        scores = side.scores(texts)
        rate = len(scores) / (time.perf_counter() - started)
    finally:
        if side.server:
            side.server.hold()
    worst = max((abs(a - b) for a, b in zip(scores, expected, strict=False)), default=float("nan"))
    sys.stderr.write(f"{side.name}, {side.way}: {rate:.2f} pairs/s, differs by {worst:.1e}\n")
    return Measured(side.name, side.way, rate, worst)


def summary(rounds: Sequence[Sequence[Measured]]) -> list[dict[str, Any]]:
    """A row for each side and way: median and range of pairs a second; and the ratio of our better way to it.

    The ratio is made within each round, of each side's better way (by its median): `ours_is` is the median over the
    rounds and `ours_is_range` the extremes.
    """
    rates: Rates = {}
    worst: dict[tuple[str, str], float] = {}
    for each in (each for round_ in rounds for each in round_):
        rates.setdefault((each.side, each.way), []).append(each.pairs_per_s)
        worst[each.side, each.way] = max(worst.get((each.side, each.way), 0.0), each.worst_difference)
    return [
        {
            "side": side,
            "way": way,
            "pairs_per_s": round(statistics.median(got), 2),
            "range": [round(min(got), 2), round(max(got), 2)],
            "worst_difference": worst[side, way],
            **(_ratio(rates, side) if way == _better_way(rates, side) else {}),
        }
        for (side, way), got in rates.items()
    ]


def _better_way(rates: Rates, side: str) -> str:
    return max((way for name, way in rates if name == side), key=lambda way: statistics.median(rates[side, way]))


def _ratio(rates: Rates, side: str) -> dict[str, Any]:
    if side == OURS or not any(name == OURS for name, _ in rates):
        return {}
    theirs, own = rates[side, _better_way(rates, side)], rates[OURS, _better_way(rates, OURS)]
    ratios = [a / b for a, b in zip(own, theirs, strict=True)]
    extremes = [round(min(ratios), 2), round(max(ratios), 2)]
    return {"ours_is": round(statistics.median(ratios), 3), "ours_is_range": extremes}
