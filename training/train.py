"""Trains a reward model on rankings with the K-wise loss.

`python -m training.train --data FILE.jsonl --base FOLDER --out FOLDER`

The base is any causal sequence-classification folder with one label and a tokenizer with a chat template; the
result is such a folder again. AdamW, linear warm-up, a plateau, linear decay, everything seeded. CPU first: one
process, one device, fp32. Knows nothing of where rankings come from.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from training.batches import EncodedRanking, batches_of, encode
from training.hints import HintHeads
from training.kwise_loss import plackett_luce_nll
from training.nectar import read_rankings
from training.packed import forward_packed, packed_rows

__all__ = ["TrainConfig", "TrainingRun", "all_batches", "load_folder", "main", "save_folder", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How to train; the recipe records every field.

    Attributes:
        num_epochs: Passes over the rankings.
        batch_tokens: Tokens in one optimiser step, about.
        peak_lr: Learning rate after warm-up.
        num_warmup: Steps in which the rate rises linearly, a tenth of all at most; then it stays at its peak.
        decay_share: Part of all steps, at their end, in which the rate falls linearly to a fiftieth of the peak.
        weight_decay: AdamW's, on matrices alone.
        clip_norm: Largest gradient norm.
        shuffles: Whether every epoch draws an order of its own, or all keep the order given.
        num_short_first: So many rankings, the shorter half of the first twice as many, come first: which words of an
            answer come back from the prompt is learned sooner where there are few.
        num_before_drills: So many batches of rankings come before the first batch of drills.
        rankings_per_drill: From then on, so many batches of rankings come before each batch of drills.
        drill_tokens: Tokens in one batch of drills, about.
        hint_weight: Weight of the side tasks at every token of an answer (`hints.py`).
        centering: Weight of the squared mean reward of a ranking, which the K-wise loss leaves free.
        max_tokens: Longest row; rankings with a longer one are left out.
        seed: Seeds the order of the rankings.
    """

    num_epochs: int = 1
    batch_tokens: int = 5000
    peak_lr: float = 1.5e-3
    num_warmup: int = 50
    decay_share: float = 0.5
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    shuffles: bool = True
    num_short_first: int = 0
    num_before_drills: int = 0
    rankings_per_drill: int = 2
    drill_tokens: int = 3000
    hint_weight: float = 0.0
    centering: float = 0.01
    max_tokens: int = 2048
    seed: int = 0


def train(
    model: PreTrainedModel,
    rankings: list[EncodedRanking],
    config: TrainConfig,
    report: Callable[[str], None] = print,
    drills: Iterable[EncodedRanking] = (),
) -> list[float]:
    """Train a model in place.

    Args:
        model: A causal model with `base_model` and a one-label `score` head; changed by this call.
        rankings: Encoded rankings.
        config: How to train.
        report: Takes progress lines.
        drills: Short rankings to put between the others; may be endless.

    Returns:
        The K-wise loss of every step, in nats for each choice.
    """
    run = TrainingRun(model, config)
    batches = all_batches(rankings, config, drills)
    model.train()
    losses = [run.step(batch, step, len(batches), report) for step, batch in enumerate(batches)]
    model.train(False)
    return losses


class TrainingRun:
    """A model being trained: its side tasks' heads, its optimiser and how it has gone."""

    def __init__(self, model: PreTrainedModel, config: TrainConfig) -> None:
        self._model, self._config = model, config
        self.heads = HintHeads(model.config.hidden_size)
        self.optimizer = _optimizer([*model.parameters(), *self.heads.parameters()], config)
        self._losses: list[float] = []
        self._num_tokens = 0
        self._started_s = time.monotonic()

    def step(self, batch: list[EncodedRanking], step: int, num_steps: int, report: Callable[[str], None]) -> float:
        """Take one optimiser step and give its K-wise loss."""
        rate = _learning_rate(self._config, step, num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._losses.append(_step(self._model, self.heads, self.optimizer, batch, self._config))
        self._num_tokens += sum(ranking.num_tokens for ranking in batch)
        if step % 50 == 49 or step + 1 == num_steps:
            recent = sum(self._losses[-50:]) / len(self._losses[-50:])
            speed = self._num_tokens / (time.monotonic() - self._started_s)
            report(f"step {step + 1}/{num_steps}  loss {recent:.4f}  lr {rate:.2e}  {speed:.0f} tokens/s")
        return self._losses[-1]


def all_batches(
    rankings: list[EncodedRanking], config: TrainConfig, drills: Iterable[EncodedRanking] = ()
) -> list[list[EncodedRanking]]:
    """Order all epochs' batches; the shorter half of the first rankings comes first if that is asked for."""
    rng = random.Random(config.seed)
    if config.num_short_first:
        rankings = _short_first(rankings, config.num_short_first)
    batches: list[list[EncodedRanking]] = []
    for _ in range(config.num_epochs):
        order = rng.sample(rankings, len(rankings)) if config.shuffles else rankings
        batches += batches_of(order, config.batch_tokens)
    return list(_with_drills(batches, batches_of(drills, config.drill_tokens), config))


def _with_drills(
    batches: list[list[EncodedRanking]], drills: Iterator[list[EncodedRanking]], config: TrainConfig
) -> Iterator[list[EncodedRanking]]:
    for index, batch in enumerate(batches, start=1 - config.num_before_drills):
        yield batch
        if index > 0 and index % config.rankings_per_drill == 0:
            yield from islice(drills, 1)


def _short_first(rankings: list[EncodedRanking], num_short: int) -> list[EncodedRanking]:
    """Move the shorter half of the first `2 * num_short` rankings to the front; either part keeps its order."""
    head = range(min(2 * num_short, len(rankings)))
    short = set(sorted(head, key=lambda index: rankings[index].num_tokens)[:num_short])
    order = [*sorted(short), *(index for index in range(len(rankings)) if index not in short)]
    return [rankings[index] for index in order]


def _optimizer(parameters: list[torch.nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    matrices = [p for p in parameters if p.dim() >= 2]
    vectors = [p for p in parameters if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.peak_lr, betas=(0.9, 0.99), fused=True)


def _learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """Rise linearly, stay, and fall linearly; in a run of some length only the fall depends on the number of steps."""
    num_decay = round(config.decay_share * num_steps)
    rise = (step + 1) / max(1, min(config.num_warmup, num_steps // 10))
    fall = (num_steps - step) / max(1, num_decay)
    return config.peak_lr * max(0.02, min(1.0, rise, fall))


def _step(
    model: PreTrainedModel,
    heads: HintHeads,
    optimizer: torch.optim.AdamW,
    batch: list[EncodedRanking],
    config: TrainConfig,
) -> float:
    rewards: list[Tensor] = []
    hints: list[Tensor] = []
    for row in packed_rows(batch):
        reward_A, states = forward_packed(model, row)
        rewards.append(reward_A)
        if config.hint_weight:
            hints.append(heads.losses(row, states))
    rewards_GK = torch.cat(rewards).view(len(batch), -1)
    loss = plackett_luce_nll(rewards_GK, torch.tensor([ranking.tiers for ranking in batch]))
    total = loss + config.centering * rewards_GK.mean(dim=1).square().mean()
    if hints:
        total = total + config.hint_weight * torch.cat(hints).mean()
    torch.autograd.backward(total)
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def load_folder(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load a sequence-classification folder in fp32, whatever it is stored in."""
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise TypeError(f"{folder} has a {type(tokenizer).__name__}; training needs a fast tokenizer (tokenizer.json)")
    return model, tokenizer


def save_folder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: str | Path) -> None:
    """Save model and tokenizer as a plain Hugging Face folder, weights rounded to bf16, in place."""
    model.bfloat16().save_pretrained(folder)
    for how_loaded in ("is_local", "local_files_only"):  # transformers would write down where the tokenizer came from
        tokenizer.init_kwargs.pop(how_loaded, None)
    tokenizer.save_pretrained(folder, save_jinja_files=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train from the command line; `arguments` are the words after the program's name."""
    parser = argparse.ArgumentParser(description="Train a reward model on a Nectar-style file.")
    parser.add_argument("--data", required=True, help="Nectar-style JSONL file")
    parser.add_argument("--base", required=True, help="sequence-classification folder to start from")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-5)
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)
    config = TrainConfig(num_epochs=args.epochs, peak_lr=args.lr, seed=args.seed)
    model, tokenizer = load_folder(args.base)
    train(model, encode(tokenizer, read_rankings(args.data), config.max_tokens), config)
    save_folder(model, tokenizer, args.out)


if __name__ == "__main__":
    main()
