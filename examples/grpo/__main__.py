"""Pre-trains a tiny policy, trains it with GRPO against the server, and shows what that changed.

`make -C examples/grpo` is the one command; see README.md there for what came of it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from examples.demo_server import demo_server
from examples.grpo import policy as policies
from examples.grpo import report
from examples.grpo.evaluate import Answers, answers_of
from examples.grpo.settings import FULL, QUICK, Size
from examples.grpo.train import grpo
from reward_client import Client
from training.demo_data.lexicon import Split
from training.rankings import Ranking

_HELD_OUT_SEED = 1_000_003
"""Far from the seeds that training draws its questions with."""


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
    started_s = time.monotonic()
    tokenizer = policies.load_tokenizer()
    held_out = {
        "new_questions": policies.questions(tokenizer, _HELD_OUT_SEED, Split.TRAIN, size.num_eval_prompts),
        "new_wordings": policies.questions(tokenizer, _HELD_OUT_SEED, Split.HELD_OUT, size.num_eval_prompts),
    }
    policy = policies.pretrain(tokenizer, size, seed)
    pretrained_s = time.monotonic()
    policy.save_pretrained(out / "pretrained")
    before = _answers(policy, tokenizer, held_out, url, seed)
    grpo_started_s = time.monotonic()
    policy, log = grpo(out / "pretrained", tokenizer, url, size, seed, out)
    grpo_ended_s = time.monotonic()
    after = _answers(policy.eval(), tokenizer, held_out, url, seed)
    report.plot(log, out / "reward_curve.png")
    found = {name: report.comparison(before[name], after[name]) for name in held_out}
    report.write(
        out / "report.json",
        size,
        {
            "num_parameters": sum(weight.numel() for weight in policy.parameters()),
            "seconds": {
                "pretraining": round(pretrained_s - started_s),
                "grpo": round(grpo_ended_s - grpo_started_s),
                "all": round(time.monotonic() - started_s),
            },
            "held_out": found,
            "samples": report.samples(held_out["new_wordings"], before["new_wordings"], after["new_wordings"]),
            "curve": [{name: entry[name] for name in ("step", "reward", "completions/mean_length")} for entry in log],
        },
    )
    policy.save_pretrained(out / "trained")
    _show(found, out)


def _answers(
    policy: Any, tokenizer: Any, held_out: dict[str, list[Ranking]], url: str, seed: int
) -> dict[str, Answers]:
    with Client(url, priority="bulk", run_id="examples-grpo-evaluation") as client:
        return {name: answers_of(policy, tokenizer, rankings, client, seed) for name, rankings in held_out.items()}


def _show(found: dict[str, Any], out: Path) -> None:
    for name, part in found.items():
        gain = part["gain"]
        print(
            f"{name}: mean reward {part['before']['reward']['mean']} -> {part['after']['reward']['mean']}, "
            f"gain {gain['mean']} (95 % interval {gain['low']} to {gain['high']}, {part['num_prompts']} prompts)"
        )
    print(f"written: {out / 'report.json'}, {out / 'reward_curve.png'}")


if __name__ == "__main__":
    main()
