"""Trains a reward model on rankings with the K-wise loss.

`python -m training.train --data FILE.jsonl --base FOLDER --out FOLDER`

The base is any causal sequence-classification folder with one label and a tokenizer with a chat template; the
result is such a folder again. AdamW, linear warm-up, cosine decay, everything seeded. CPU first: one process,
one device, fp32. Knows nothing of where rankings come from.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from training.batches import (
    EncodedRanking,
    encode,
    forward_slices,
    in_order,
    reward_S,
    shuffled_batches,
)
from training.hints import HintHeads, targets_of
from training.kwise_loss import plackett_luce_nll
from training.nectar import read_rankings

__all__ = ["TrainConfig", "load_folder", "main", "save_folder", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How to train; the recipe records every field.

    Attributes:
        num_epochs: Passes over the rankings.
        batch_tokens: Tokens in one optimiser step, about.
        peak_lr: Learning rate after warm-up.
        warmup_share: Part of all steps in which the rate rises linearly.
        weight_decay: AdamW's, on matrices alone.
        clip_norm: Largest gradient norm.
        short_first_share: Part of the rankings, the shortest, that the first epoch begins with: which words
            of an answer come back from the prompt is learned sooner where there are few.
        hint_weight: Weight of the side tasks at every token of an answer (`hints.py`).
        centering: Weight of the squared mean reward of a ranking, which the K-wise loss leaves free.
        max_tokens: Longest row; rankings with a longer one are left out.
        seed: Seeds the order of the rankings.
    """

    num_epochs: int = 1
    batch_tokens: int = 5000
    peak_lr: float = 1.5e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    short_first_share: float = 0.0
    hint_weight: float = 0.0
    centering: float = 0.01
    max_tokens: int = 2048
    seed: int = 0


def train(
    model: PreTrainedModel,
    rankings: list[EncodedRanking],
    config: TrainConfig,
    report: Callable[[str], None] = print,
) -> list[float]:
    """Train a model in place.

    Args:
        model: A causal model with `base_model` and a one-label `score` head; changed by this call.
        rankings: Encoded rankings.
        config: How to train.
        report: Takes progress lines.

    Returns:
        The K-wise loss of every step, in nats for each choice.
    """
    batches = _all_batches(rankings, config)
    heads = HintHeads(model.config.hidden_size)
    optimizer = _optimizer([*model.parameters(), *heads.parameters()], config)
    losses: list[float] = []
    started_s, num_tokens = time.monotonic(), 0
    model.train()
    for step, batch in enumerate(batches):
        rate = _learning_rate(config, step, len(batches))
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses.append(_step(model, heads, optimizer, batch, config))
        num_tokens += sum(ranking.num_tokens for ranking in batch)
        if step % 50 == 49 or step + 1 == len(batches):
            recent = sum(losses[-50:]) / len(losses[-50:])
            speed = num_tokens / (time.monotonic() - started_s)
            report(f"step {step + 1}/{len(batches)}  loss {recent:.4f}  lr {rate:.2e}  {speed:.0f} tokens/s")
    model.train(False)
    return losses


def _all_batches(rankings: list[EncodedRanking], config: TrainConfig) -> list[list[EncodedRanking]]:
    """Order all epochs' batches; in the first epoch the shorter rankings come first if that is asked for."""
    rng = random.Random(config.seed)
    by_length = sorted(rankings, key=lambda ranking: ranking.num_tokens)
    num_short = round(config.short_first_share * len(rankings))
    phases = [by_length[:num_short], by_length[num_short:]] + [rankings] * (config.num_epochs - 1)
    return [batch for phase in phases for batch in shuffled_batches(phase, config.batch_tokens, rng)]


def _optimizer(parameters: list[torch.nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    matrices = [p for p in parameters if p.dim() >= 2]
    vectors = [p for p in parameters if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.peak_lr, betas=(0.9, 0.99))


def _learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """Rise linearly over the warm-up, then fall along half a cosine to a twentieth of the peak."""
    num_warmup = max(1, round(config.warmup_share * num_steps))
    if step < num_warmup:
        return config.peak_lr * (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return config.peak_lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def _step(
    model: PreTrainedModel,
    heads: HintHeads,
    optimizer: torch.optim.AdamW,
    batch: list[EncodedRanking],
    config: TrainConfig,
) -> float:
    rows = [row for ranking in batch for row in ranking.rows]
    targets = [target for ranking in batch for target in targets_of(ranking)]
    rewards: list[tuple[list[int], Tensor]] = []
    hints: list[Tensor] = []
    for piece in forward_slices(model, rows):
        rewards.append((piece.rows, reward_S(model, piece)))
        if config.hint_weight:
            hints.append(heads.losses(piece, targets))
    rewards_GK = in_order(rewards).view(len(batch), -1)
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
