"""The reward curve as a picture, and the figures of a run as a JSON file."""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
import transformers
import trl

from examples.grpo.evaluate import Answer, mean_with_interval
from examples.grpo.settings import Size
from examples.grpo.text import behaviour_of

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


def comparison(before: list[Answer], after: list[Answer], samples_each: int) -> dict[str, Any]:
    """Returns what both policies reach, and the difference question by question with its 95 % interval."""
    early, late = (_mean_of_each_question(answers, samples_each) for answers in (before, after))
    gain, low, high = mean_with_interval([b - a for a, b in zip(early, late, strict=True)])
    return {
        "num_questions": len(early),
        "before": _summary(before, early),
        "after": _summary(after, late),
        "gain": {"mean": round(gain, 3), "low": round(low, 3), "high": round(high, 3)},
    }


def samples(before: list[Answer], after: list[Answer]) -> list[dict[str, Any]]:
    """Returns the first few questions with one answer of each policy: not chosen."""
    return [
        {"question": early.question.text, "before": _shown(early), "after": _shown(late)}
        for early, late in zip(before[:_NUM_SHOWN], after[:_NUM_SHOWN], strict=True)
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


def _mean_of_each_question(answers: list[Answer], samples_each: int) -> list[float]:
    """Answers come in whole rounds over the questions."""
    num_questions = len(answers) // samples_each
    rounds = [answers[start : start + num_questions] for start in range(0, len(answers), num_questions)]
    return [sum(answer.reward for answer in same) / samples_each for same in zip(*rounds, strict=True)]


def _summary(answers: list[Answer], means: list[float]) -> dict[str, Any]:
    mean, low, high = mean_with_interval(means)
    behaviours = Counter(behaviour_of(answer.text, answer.question) for answer in answers)
    return {
        "reward": {"mean": round(mean, 3), "low": round(low, 3), "high": round(high, 3)},
        "mean_tokens": round(sum(answer.num_tokens for answer in answers) / len(answers), 1),
        "distinct_answers": len({answer.text for answer in answers}),
        "behaviours": {name: round(count / len(answers), 3) for name, count in behaviours.most_common()},
        "reward_by_behaviour": {
            name: round(_mean([answer.reward for answer in answers if _is(answer, name)]), 2) for name in behaviours
        },
        "most_common": [[text, count] for text, count in Counter(answer.text for answer in answers).most_common(3)],
    }


def _is(answer: Answer, behaviour: str) -> bool:
    return behaviour_of(answer.text, answer.question) == behaviour


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _shown(answer: Answer) -> dict[str, Any]:
    return {"text": answer.text, "reward": round(answer.reward, 2)}
