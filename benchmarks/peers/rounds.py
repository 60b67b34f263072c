"""Rounds: every side once on one workload, one after the other, so that a noisy machine hits all alike.

While one side is measured all servers but its own are held still. The order moves on by one from round to round.
Beside pairs a second of the clock stands what a side scored in a second of one core's time (its own processes', without
the client): on a machine that others use, the clock says how much was left for whom, and that does not.
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

from benchmarks.light_http import own_cpu_s
from benchmarks.peers.checkpoint import Text
from benchmarks.peers.sides import ALONE, CALLS, OURS, Side

CLOCK_TICK_S = 0.01
COMPARED = 16
"""Texts of a round whose scores are compared with those of one pair at a time."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One side in one round."""

    side: str
    way: str
    pairs_per_s: float
    pairs_per_core_s: float
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
        cpu_s = side.server.cpu_s if side.server else own_cpu_s
        started, before_s = time.perf_counter(), cpu_s()
        scores = side.scores(texts)
        rate = len(scores) / (time.perf_counter() - started)
        core_rate = len(scores) / max(cpu_s() - before_s, CLOCK_TICK_S)
    finally:
        if side.server:
            side.server.hold()
    worst = max((abs(a - b) for a, b in zip(scores, expected, strict=False)), default=float("nan"))
    sys.stderr.write(f"{side.name}, {side.way}: {rate:.2f} pairs/s, {core_rate:.2f} a core, differs by {worst:.1e}\n")
    return Measured(side.name, side.way, rate, core_rate, worst)


def summary(rounds: Sequence[Sequence[Measured]]) -> list[dict[str, Any]]:
    """A row for each side and way: medians and ranges of pairs a second, and of pairs a core's second.

    Each side's better way, by the median of pairs a second, has the ratio of our better way to it: `ours_is`, and by
    core time `ours_is_per_core`, each made within every round; median and extremes.
    """
    got: dict[tuple[str, str], list[Measured]] = {}
    for each in (each for round_ in rounds for each in round_):
        got.setdefault((each.side, each.way), []).append(each)
    own = _better_way(got, OURS)
    return [
        {
            "side": side,
            "way": way,
            **_spread("pairs_per_s", [each.pairs_per_s for each in measured]),
            **_spread("pairs_per_core_s", [each.pairs_per_core_s for each in measured]),
            "worst_difference": max(each.worst_difference for each in measured),
            **(_ratios(own, measured) if own and side != OURS and measured is _better_way(got, side) else {}),
        }
        for (side, way), measured in got.items()
    ]


def _better_way(got: dict[tuple[str, str], list[Measured]], side: str) -> list[Measured]:
    ways = [measured for (name, _), measured in got.items() if name == side]
    return max(ways, key=lambda measured: statistics.median(each.pairs_per_s for each in measured), default=[])


def _ratios(own: Sequence[Measured], theirs: Sequence[Measured]) -> dict[str, Any]:
    pairs = list(zip(own, theirs, strict=True))
    return {
        **_spread("ours_is", [a.pairs_per_s / b.pairs_per_s for a, b in pairs]),
        **_spread("ours_is_per_core", [a.pairs_per_core_s / b.pairs_per_core_s for a, b in pairs]),
    }


def _spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    extremes = [round(min(values), 3), round(max(values), 3)]
    return {name: round(statistics.median(values), 3), f"{name}_range": extremes}
