"""How large the run is. All of it takes minutes on two CPU cores; `QUICK` takes one and teaches nothing."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ANSWER_TOKENS = 40
"""The texts that the policy imitates have 21 on average; some are cut."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of everything.

    Attributes:
        num_texts: Questions with an answer that the policy is pre-trained on.
        hidden_size: Width of the policy; heads are 32 wide.
        num_layers: Its depth.
        pretrain_batch: Sequences in a batch of pre-training.
        pretrain_lr: Peak learning rate of pre-training.
        grpo_steps: Optimizer steps of GRPO.
        prompts_per_step: Prompts in each.
        num_generations: Completions of each prompt: a group.
        grpo_lr: Learning rate of GRPO.
        beta: Weight of the KL divergence to the pre-trained policy.
        samples_each: Answers to each held-out question in the evaluation.
    """

    num_texts: int = 11000
    hidden_size: int = 128
    num_layers: int = 3
    pretrain_batch: int = 20
    pretrain_lr: float = 4e-3
    grpo_steps: int = 60
    prompts_per_step: int = 8
    num_generations: int = 6
    grpo_lr: float = 3e-4
    beta: float = 0.1
    samples_each: int = 8


FULL = Size()
QUICK = Size(
    num_texts=300,
    hidden_size=64,
    num_layers=2,
    pretrain_batch=32,
    grpo_steps=3,
    prompts_per_step=2,
    num_generations=4,
    samples_each=1,
)
