"""What a policy's answers to held-out questions are worth, and whether two policies differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from examples.grpo.policy import prompt_ids
from examples.grpo.settings import MAX_ANSWER_TOKENS
from examples.grpo.text import Question
from reward_client import Client

_BATCH = 128
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Answer:
    """One sampled answer, with its reward and its length in tokens."""

    question: Question
    text: str
    num_tokens: int
    reward: float


def answers_of(
    policy: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Question],
    client: Client,
    seed: int,
) -> list[Answer]:
    """Samples one answer to each question at temperature 1, as in training, and has the server score them."""
    torch.manual_seed(seed)
    written: list[tuple[str, int]] = []
    for start in range(0, len(questions), _BATCH):
        written += _written(policy, tokenizer, questions[start : start + _BATCH])
    pairs = [(question.messages, text) for question, (text, _) in zip(questions, written, strict=True)]
    scores = client.score(pairs).scores
    return [
        Answer(question, text, num_tokens, score)
        for question, (text, num_tokens), score in zip(questions, written, scores, strict=True)
    ]


def _written(
    policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: Sequence[Question]
) -> list[tuple[str, int]]:
    batch = tokenizer.pad(
        {"input_ids": [prompt_ids(tokenizer, question) for question in questions]}, return_tensors="pt"
    )
    with torch.inference_mode():
        made_ST = policy.generate(
            **batch, max_new_tokens=MAX_ANSWER_TOKENS, do_sample=True, temperature=1.0, top_k=0, top_p=1.0
        )[:, batch["input_ids"].shape[1] :]
    stop = tokenizer.eos_token_id
    rows = [row[: row.index(stop)] if stop in row else row for row in made_ST.tolist()]
    return [(tokenizer.decode(row, skip_special_tokens=True), len(row)) for row in rows]


def mean_with_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Returns the mean and its 95 % interval by the percentile bootstrap over questions.

    For the difference of two policies give the differences question by question: a paired bootstrap.
    """
    given = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(0, len(given), (_RESAMPLES, len(given)))
    low, high = np.quantile(given[drawn].mean(axis=1), [0.025, 0.975])
    return float(given.mean()), float(low), float(high)
