"""TRL's GRPOTrainer, unchanged, with the server as its reward function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from examples.grpo.settings import MAX_ANSWER_TOKENS, Size
from examples.grpo.text import Question
from reward_client.adapters import trl_reward


def grpo(
    pretrained: Path,
    tokenizer: PreTrainedTokenizerFast,
    questions: list[Question],
    url: str,
    size: Size,
    seed: int,
) -> tuple[LlamaForCausalLM, list[dict[str, Any]]]:
    """Trains the policy in a folder; returns the new one and TRL's log, one entry for each step.

    TRL loads the folder twice: as the policy, and as the reference of the KL divergence.
    """
    config = GRPOConfig(
        output_dir=str(pretrained.parent / "trl"),
        max_steps=size.grpo_steps,
        per_device_train_batch_size=size.prompts_per_step * size.num_generations,
        num_generations=size.num_generations,
        max_completion_length=MAX_ANSWER_TOKENS,
        learning_rate=size.grpo_lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=5,
        beta=size.beta,
        temperature=1.0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        gradient_checkpointing=False,  # on by default in TRL; here memory is not what is short
        bf16=False,
        disable_tqdm=True,
        seed=seed,
    )
    trainer = GRPOTrainer(
        model=str(pretrained),
        reward_funcs=trl_reward(url, run_id="examples-grpo"),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": question.messages} for question in questions]),
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer.model, [entry for entry in trainer.state.log_history if "reward" in entry]
