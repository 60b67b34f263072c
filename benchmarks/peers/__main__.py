"""This server beside others, over HTTP, on one random checkpoint: `python -m benchmarks.peers --help`.

Sides take turns in short rounds, on texts that are new in each, so that no cache of an earlier one answers; all
servers but the one that is asked are held still (SIGSTOP). `--journal FILE` lets a run that was cut off go on,
`--minutes` bounds it: the table then has fewer rounds. benchmarks/README.md says how to make the environments that
hold the other peers. Prints a table of medians and ratios, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from benchmarks.peers.rounds import Journal
    from benchmarks.peers.sides import Peer, Side

VENVS = ("vllm", "sentence-transformers", "infinity", "litserve")
IN_PROCESS = "transformers"
SIDES = ("reward-server", IN_PROCESS, "openrlhf", *VENVS)
WARM_PAIRS = 4


def main(arguments: list[str] | None = None) -> None:
    """Measures what the command line asks for."""
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the servers end with this process
    from benchmarks.peers.servers import fair_environment

    fair_environment()
    report = compare(args)
    _print_table(report["workloads"])
    sys.stdout.write(json.dumps(report) + "\n")


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All sides on all workloads."""
    from benchmarks.peers.rounds import Journal, all_held, summary

    names = ("sides", "hidden", "layers", "threads", "clients", "pairs", "seed", "vllm_block", "vllm_args", "vllm_env")
    journal = Journal(args.journal, {name: getattr(args, name) for name in names} | {"commit": _commit()})
    with _sides(args) as (sides, fresh, facts):
        with all_held(sides):
            _run_rounds(args, sides, fresh, journal)
        peaks = {side.server.name: round(side.server.peak_mib()) for side in sides if side.server}
    done = {name: [got for (workload, _), got in journal.rounds.items() if workload == name] for name in args.workloads}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": f"{platform.machine()} x {os.cpu_count()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "shape": f"hidden {args.hidden}, {args.layers} layers, fp32",
        "clients": args.clients,
        "rounds": {name: len(rounds) for name, rounds in done.items()},
        **facts,
        "peak_mib": peaks,
        "workloads": {name: summary(rounds) for name, rounds in done.items() if rounds},
    }


def _run_rounds(args: argparse.Namespace, sides: Sequence[Side], fresh: Any, journal: Journal) -> None:
    """Round by round, each on every workload, as long as another one as long as the longest fits the time."""
    from benchmarks.peers.rounds import run_round

    began_s, longest_s = time.monotonic(), 0.0
    for number in range(args.rounds):
        for name in args.workloads:
            if (name, number) in journal.rounds:
                continue
            started_s = time.monotonic()
            if args.minutes is not None and started_s + longest_s - began_s > args.minutes * 60:
                sys.stderr.write(f"{args.minutes} minutes are over; not measured: {name}, round {number + 1} and on\n")
                return
            sys.stderr.write(f"--- {name}, round {number + 1}\n")
            journal.add(name, number, run_round(sides, number, partial(fresh, name)))
            longest_s = max(longest_s, time.monotonic() - started_s)


@contextmanager
def _sides(args: argparse.Namespace) -> Iterator[tuple[list[Side], Any, dict[str, Any]]]:
    """The sides that were asked for, warm, what makes texts of a workload and a seed, and facts for the report."""
    from benchmarks.peers import servers
    from benchmarks.peers.checkpoint import texts_of, tokenizer_of, write_bare_copy, write_checkpoint
    from benchmarks.peers.plain import Plain
    from benchmarks.peers.sides import plain_sides, served_sides

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder, bare = scratch / "random-rm", scratch / "random-rm-bare"
        write_checkpoint(folder, args.hidden, args.layers)
        write_bare_copy(folder, bare)
        tokenizer, sides = tokenizer_of(folder), []
        facts: dict[str, dict[str, float]] = {"start_to_first_answer_s": {}, "idle_cores": {}}

        def fresh(name: str, seed: int) -> Any:
            num_pairs = args.pairs // 2 if name == "rerank" else args.pairs
            return texts_of(name, num_pairs, args.seed * 10_000 + seed, tokenizer)

        if IN_PROCESS in args.sides:
            sides += plain_sides(Plain(folder, args.threads))
        for number, peer in enumerate(_peers(args, folder, bare)):
            server = stack.enter_context(servers.running(peer.launch, scratch / f"{number}.log"))
            own = served_sides(peer, server, args.clients)
            for side in own:
                side.scores(fresh("chat", 9_000)[:WARM_PAIRS])
            facts["start_to_first_answer_s"][server.name] = round(server.ready_s, 1)
            facts["idle_cores"][server.name] = round(server.idle_cpu_share(), 3)
            sides += own
        yield sides, fresh, facts


def _peers(args: argparse.Namespace, folder: Path, bare: Path) -> list[Peer]:
    from benchmarks.peers import sides

    def python(name: str) -> Path:
        path: Path = args.venvs / name / "bin/python"
        if not path.exists():
            raise SystemExit(f"no {path}; benchmarks/README.md says how to make it, --sides leaves {name} out")
        return path

    made: list[Peer] = []
    if "reward-server" in args.sides:
        made.append(sides.ours(folder, args.threads))
    if "vllm" in args.sides:
        more, set_ = args.vllm_args.split(), dict(pair.split("=", 1) for pair in args.vllm_env)
        made += [sides.vllm(python("vllm"), folder, args.threads, block, more, set_) for block in args.vllm_block]
    if "openrlhf" in args.sides:
        made.append(sides.openrlhf(folder, args.threads))
    for name in ("sentence-transformers", "infinity", "litserve"):
        if name in args.sides:
            made.append(getattr(sides, name.replace("-", "_"))(python(name), bare, args.threads))
    return made


def _commit() -> str:
    """What of this project is measured; empty outside a checkout."""
    words = ("git", "describe", "--always", "--dirty", "--exclude=*")
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _print_table(results: dict[str, list[dict[str, Any]]]) -> None:
    """Each side and way; at each peer's better way, how many times as fast ours is, by the clock and by core time."""
    row_of = "{:11} {:24} {:12} {:24} {:10} {:24} {:22} {}\n".format
    sys.stdout.write(row_of("workload", "side", "way", "pairs/s", "a core", "ours is", "by core time", "differs"))
    for name, rows in results.items():
        for row in rows:
            told = [
                _with_range(row, key) if key in row else "" for key in ("pairs_per_s", "ours_is", "ours_is_per_core")
            ]
            rate, ours, per_core = told
            core_rate, differs = f"{row['pairs_per_core_s']:.2f}", f"{row['worst_difference']:.1e}"
            sys.stdout.write(row_of(name, row["side"], row["way"], rate, core_rate, ours, per_core, differs))


def _with_range(row: dict[str, Any], key: str) -> str:
    low, high = row[f"{key}_range"]
    return f"{row[key]:.2f} ({low:.2f} to {high:.2f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--sides", nargs="+", default=list(SIDES[:4]), choices=SIDES, help="who takes part")
    parser.add_argument("--venvs", type=Path, default=Path(".venv-peers"), help="folder of the peers' environments")
    parser.add_argument("--vllm-block", type=int, nargs="+", default=[32], help="block sizes of its prefix cache (32)")
    parser.add_argument("--vllm-args", default="", help="more flags for vllm serve, in one word")
    parser.add_argument("--vllm-env", nargs="*", default=[], help="NAME=VALUE for vLLM")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=64, help="pairs of a workload (64); half of it for rerank")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, help="once all are up, begin no round that would end later")
    parser.add_argument("--journal", type=Path, help="where whole rounds are kept, to go on behind them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    return parser


if __name__ == "__main__":
    main()
