"""How large the run is. All of it takes minutes on two CPU cores; `QUICK` takes one and teaches nothing."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PROMPT_TOKENS = 64
MAX_ANSWER_TOKENS = 48


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of everything.

    Attributes:
        num_rankings: Rankings whose answers, good and bad alike, the policy is pre-trained on.
        hidden_size: Width of the policy; heads are 32 wide.
        num_layers: Its depth.
        pretrain_batch: Sequences in a batch of pre-training.
        pretrain_lr: Peak learning rate of pre-training.
        grpo_steps: Optimizer steps of GRPO.
        prompts_per_step: Prompts in each.
        num_generations: Completions of each prompt: a group.
        grpo_lr: Learning rate of GRPO.
        beta: Weight of the KL divergence to the pre-trained policy.
        num_eval_prompts: Held-out prompts of each kind.
    """

    num_rankings: int = 3000
    hidden_size: int = 128
    num_layers: int = 3
    pretrain_batch: int = 32
    pretrain_lr: float = 3e-3
    grpo_steps: int = 100
    prompts_per_step: int = 8
    num_generations: int = 6
    grpo_lr: float = 3e-4
    beta: float = 0.02
    num_eval_prompts: int = 256


FULL = Size()
QUICK = Size(
    num_rankings=60,
    hidden_size=64,
    num_layers=2,
    pretrain_batch=32,
    grpo_steps=3,
    prompts_per_step=2,
    num_generations=4,
    num_eval_prompts=12,
)
