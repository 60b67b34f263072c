"""The policy: a Llama of about a million parameters, pre-trained here on generated text.

It learns to write sound answers, but just as often off-topic, evasive, rude, repetitive, unfinished and meaningless
ones. GRPO has to find out which of them are liked.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from examples.grpo.settings import Size
from examples.grpo.text import Question, texts

TOKENIZER = Path(__file__).parents[2] / "model_store" / "weights" / "demo"
"""The demo reward model's: its template is what the policy is trained in. Any other would do."""
_IGNORED = -100
_MATCHING_GAIN = 3.0
"""As in `training/build_demo.py`: such heads take long to form by chance, and questions have to be looked up."""


def load_tokenizer() -> PreTrainedTokenizerFast:
    """Returns the tokenizer with its chat template; generation pads on the left."""
    return AutoTokenizer.from_pretrained(TOKENIZER, padding_side="left")


def prompt_ids(tokenizer: PreTrainedTokenizerFast, question: Question) -> list[int]:
    """Returns the tokens of the conversation up to where the answer begins."""
    text = tokenizer.apply_chat_template(question.messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def make_policy(tokenizer: PreTrainedTokenizerFast, size: Size) -> LlamaForCausalLM:
    """Makes the untrained policy; half of its heads start out looking for copies of the token they stand on."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden_size,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.hidden_size // 32,
        num_key_value_heads=size.hidden_size // 32,
        intermediate_size=size.hidden_size * 8 // 3,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    policy = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in policy.model.layers:
            keys, queries = layer.self_attn.k_proj.weight, layer.self_attn.q_proj.weight
            keys.mul_(_MATCHING_GAIN)
            queries[: len(queries) // 2] = keys[: len(keys) // 2]
    return policy


def pretrain(tokenizer: PreTrainedTokenizerFast, questions: list[Question], size: Size, seed: int) -> LlamaForCausalLM:
    """Trains a new policy on questions with answers, once through."""
    torch.manual_seed(seed)
    policy = make_policy(tokenizer, size)
    rows = [
        (prompt_ids(tokenizer, question), tokenizer(answer)["input_ids"] + [tokenizer.eos_token_id])
        for question, answer in texts(seed, questions, size.num_texts)
    ]
    rows.sort(key=lambda row: len(row[0]) + len(row[1]))
    starts = list(range(0, len(rows), size.pretrain_batch))
    order = torch.randperm(len(starts)).tolist()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=size.pretrain_lr, weight_decay=0.01, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_lr(step, len(order)))
    started_s = time.monotonic()
    policy.train()
    for step, place in enumerate(order):
        ids, labels = _padded(rows[starts[place] : starts[place] + size.pretrain_batch], tokenizer.pad_token_id)
        loss = policy(input_ids=ids, labels=labels).loss  # padding comes after everything that is read
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step + 1 == len(order):
            print(
                f"pre-training {step + 1}/{len(order)}  loss {loss:.3f}  {time.monotonic() - started_s:.0f} s",
                flush=True,
            )
    return policy.eval()


def _padded(rows: list[tuple[list[int], list[int]]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns ids and labels, padded on the right; only answers are labels."""
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    num_free = [longest - len(prompt) - len(answer) for prompt, answer in rows]
    ids = [prompt + answer + [pad_id] * free for (prompt, answer), free in zip(rows, num_free, strict=True)]
    labels = [
        [_IGNORED] * len(prompt) + answer + [_IGNORED] * free
        for (prompt, answer), free in zip(rows, num_free, strict=True)
    ]
    return torch.tensor(ids), torch.tensor(labels)


def _share_of_lr(step: int, num_steps: int) -> float:
    """Warms up over a twentieth of the steps, then falls to a tenth along a cosine."""
    warmup = max(1, num_steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.55 + 0.45 * math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup))
