"""Pre-trains a tiny policy, trains it with GRPO against the server, and shows what that changed.

`make -C examples/grpo` is the one command; see README.md there for what came of it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from examples.demo_server import demo_server
from examples.grpo import report
from examples.grpo.evaluate import answers_of
from examples.grpo.policy import load_tokenizer, pretrain
from examples.grpo.settings import FULL, QUICK, Size
from examples.grpo.text import all_questions
from examples.grpo.train import grpo
from reward_client import Client


def main() -> None:
    """Runs everything and writes the report."""
    parser = argparse.ArgumentParser(prog="python -m examples.grpo", description=__doc__)
    parser.add_argument(
        "--url", help="a reward-server that runs already; without it, one is started with the demo model"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/grpo"), help="folder for report, plot and policy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a run of a minute that teaches nothing")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with demo_server(arguments.url) as url:
        run(url, QUICK if arguments.quick else FULL, arguments.seed, arguments.out)


def run(url: str, size: Size, seed: int, out: Path) -> None:
    """Runs everything against one server."""
    watch = Stopwatch()
    tokenizer = load_tokenizer()
    training, held_out = all_questions(seed)
    policy = pretrain(tokenizer, training, size, seed)
    policy.save_pretrained(out / "pretrained")
    watch.lap("pretraining")
    with Client(url, priority="bulk", run_id="examples-grpo-evaluation") as client:
        asked = held_out * size.samples_each
        before = answers_of(policy, tokenizer, asked, client, seed)
        watch.lap("evaluation before")
        policy, log = grpo(out / "pretrained", tokenizer, training, url, size, seed)
        watch.lap("grpo")
        after = answers_of(policy.eval(), tokenizer, asked, client, seed)
        watch.lap("evaluation after")
    policy.save_pretrained(out / "trained")
    found = report.comparison(before, after, size.samples_each)
    parts = {
        "num_parameters": policy.num_parameters(),
        "seconds": watch.laps,
        "held_out": found,
        "samples": report.samples(before, after),
        "curve": [{name: entry[name] for name in ("step", "reward", "completions/mean_length")} for entry in log],
    }
    report.write(out / "report.json", size, parts)
    report.plot(log, out / "reward_curve.png")
    gain = found["gain"]
    print(
        f"held-out mean reward {found['before']['reward']['mean']} -> {found['after']['reward']['mean']}, gain "
        f"{gain['mean']} (95 % interval {gain['low']} to {gain['high']}, {found['num_questions']} questions)\n"
        f"written: {out / 'report.json'}, {out / 'reward_curve.png'}"
    )


class Stopwatch:
    """Wall and processor seconds of this process, lap by lap; the server's own are not in the second."""

    def __init__(self) -> None:
        self.laps: dict[str, dict[str, float]] = {}
        self._last = (time.monotonic(), time.process_time())

    def lap(self, name: str) -> None:
        """Ends a lap."""
        now = (time.monotonic(), time.process_time())
        wall_s, processor_s = (round(late - early, 1) for early, late in zip(self._last, now, strict=True))
        self.laps[name] = {"wall": wall_s, "processor": processor_s}
        self._last = now


if __name__ == "__main__":
    main()
