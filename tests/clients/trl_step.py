"""Two steps of a real TRL trainer against a running server; runs in TRL's own environment, prints one JSON line.

python -m tests.clients.trl_step TRAINER FORMAT URL FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from examples.grpo.policy import load_tokenizer, make_policy
from examples.grpo.settings import QUICK
from reward_client.adapters import trl_reward, trl_reward_sync

QUESTIONS = ["What is 2+2?", "How do I clean a kettle?", "Why is the sky blue?", "Hi"]
COMMON: dict[str, Any] = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "gradient_checkpointing": False,
    "bf16": False,
    "disable_tqdm": True,
}


def dataset(shape: str) -> Dataset:
    """The questions as text or as messages, with a column that only rewards see."""
    prompts = QUESTIONS if shape == "standard" else [[{"role": "user", "content": text}] for text in QUESTIONS]
    return Dataset.from_list([{"prompt": prompt, "topic": "any"} for prompt in prompts])


def train(make_trainer: Any, config: Any, reward: Any, shape: str, folder: Path) -> None:
    """Trains the policy in `folder`."""
    make_trainer(
        model=str(folder / "policy"),
        reward_funcs=reward,
        args=config,
        train_dataset=dataset(shape),
        processing_class=load_tokenizer(),
    ).train()


def grpo(shape: str, url: str, folder: Path) -> list[list[Any]]:
    """What GRPO wrote into its own table of completions."""
    out = folder / "out"
    config = GRPOConfig(str(out), num_generations=2, max_completion_length=8, log_completions=True, **COMMON)
    train(GRPOTrainer, config, trl_reward(url), shape, folder)
    tables = [pandas.read_parquet(path) for path in sorted((folder / "out" / "completions").glob("*.parquet"))]
    rows = pandas.concat(tables)[["prompt", "completion", "reward_server"]]
    return [[prompt, completion, float(reward)] for prompt, completion, reward in rows.itertuples(index=False)]


def rloo(shape: str, url: str, folder: Path) -> list[list[Any]]:
    """RLOO writes no table, so the calls are noted."""
    rows: list[list[Any]] = []
    inner = trl_reward(url)

    async def noted(**columns: Any) -> list[float | None]:
        return note(rows, columns, await inner(**columns))

    config = RLOOConfig(str(folder / "out"), num_generations=2, max_completion_length=8, **COMMON)
    train(RLOOTrainer, config, noted, shape, folder)
    return rows


def online_dpo(shape: str, url: str, folder: Path) -> list[list[Any]]:
    """OnlineDPO does not await reward functions, and writes no table either."""
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    rows: list[list[Any]] = []
    inner = trl_reward_sync(url)

    def noted(**columns: Any) -> list[float | None]:
        return note(rows, columns, inner(**columns))

    train(OnlineDPOTrainer, OnlineDPOConfig(str(folder / "out"), max_new_tokens=8, **COMMON), noted, shape, folder)
    return rows


def note(rows: list[list[Any]], columns: dict[str, Any], rewards: list[float | None]) -> list[float | None]:
    """Keeps what one call was given and gave."""
    rows.extend(map(list, zip(columns["prompts"], columns["completions"], rewards, strict=True)))
    return rewards


TRAINERS = {"grpo": grpo, "rloo": rloo, "online_dpo": online_dpo}


def main(kind: str, shape: str, url: str, folder: Path) -> None:
    """Makes a policy that knows nothing, trains it, prints what TRL saw."""
    torch.manual_seed(0)
    make_policy(load_tokenizer(), QUICK).save_pretrained(folder / "policy")
    rows = TRAINERS[kind](shape, url, folder)
    sys.stdout.write(json.dumps(rows, default=lambda array: array.tolist()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
