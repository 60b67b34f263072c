"""The reward curve as a picture, and the figures of a run as a JSON file."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
import transformers
import trl

from examples.grpo.evaluate import Answers, mean_with_interval
from examples.grpo.policy import turns
from examples.grpo.settings import Size
from training.rankings import Ranking

_NUM_SHOWN = 6


def plot(log: list[dict[str, Any]], path: Path) -> None:
    """Draws mean reward and mean length of each step's completions."""
    steps = [entry["step"] for entry in log]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6, 5), height_ratios=(2, 1))
    above.plot(steps, [entry["reward"] for entry in log], linewidth=1)
    above.set_ylabel("mean reward (raw score)")
    above.set_title("GRPO against the demo reward model")
    below.plot(steps, [entry["completions/mean_length"] for entry in log], linewidth=1, color="tab:gray")
    below.set_ylabel("mean length (tokens)")
    below.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def comparison(before: Answers, after: Answers) -> dict[str, Any]:
    """Returns mean rewards of both, and the paired difference with its 95 % interval."""
    gains = [late - early for early, late in zip(before.rewards, after.rewards, strict=True)]
    gain, low, high = mean_with_interval(gains)
    return {
        "num_prompts": len(gains),
        "before": _summary(before),
        "after": _summary(after),
        "gain": {"mean": round(gain, 3), "low": round(low, 3), "high": round(high, 3)},
        "is_above_its_interval": low > 0,
    }


def samples(rankings: list[Ranking], before: Answers, after: Answers) -> list[dict[str, Any]]:
    """Returns the first few questions with both answers: not chosen."""
    return [
        {
            "question": turns(ranking)[-1]["content"],
            "before": {"text": before.texts[index], "reward": round(before.rewards[index], 2)},
            "after": {"text": after.texts[index], "reward": round(after.rewards[index], 2)},
        }
        for index, ranking in enumerate(rankings[:_NUM_SHOWN])
    ]


def machine() -> dict[str, Any]:
    """Returns what the figures depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }


def write(path: Path, size: Size, parts: dict[str, Any]) -> None:
    """Writes a report with the run's settings."""
    path.write_text(
        json.dumps({"size": asdict(size), "machine": machine(), **parts}, indent=2) + "\n", encoding="utf-8"
    )


def _summary(answers: Answers) -> dict[str, Any]:
    mean, low, high = mean_with_interval(answers.rewards)
    num_answers = len(answers.rewards)
    return {
        "reward": {"mean": round(mean, 3), "low": round(low, 3), "high": round(high, 3)},
        "mean_tokens": round(sum(answers.lengths) / num_answers, 1),
        "ended": round(sum(answers.ended) / num_answers, 3),
        "distinct": len(set(answers.texts)),
    }
