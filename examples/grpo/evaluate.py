"""What a policy's answers to held-out questions are worth, and whether two policies differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from examples.grpo.policy import prompt_ids, turns
from examples.grpo.settings import MAX_ANSWER_TOKENS
from reward_client import Client
from training.rankings import Ranking

_BATCH = 64
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Answers:
    """One sampled answer to each question, with its reward and length in tokens."""

    texts: list[str]
    rewards: list[float]
    lengths: list[int]
    ended: list[bool]


def answers_of(
    policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rankings: list[Ranking], client: Client, seed: int
) -> Answers:
    """Samples at temperature 1, as in training, and has the server score the answers."""
    torch.manual_seed(seed)
    texts: list[str] = []
    lengths: list[int] = []
    ended: list[bool] = []
    for start in range(0, len(rankings), _BATCH):
        prompts = [prompt_ids(tokenizer, ranking) for ranking in rankings[start : start + _BATCH]]
        batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        with torch.inference_mode():
            made_ST = policy.generate(
                **batch, max_new_tokens=MAX_ANSWER_TOKENS, do_sample=True, temperature=1.0, top_k=0, top_p=1.0
            )[:, batch["input_ids"].shape[1] :]
        for row in made_ST.tolist():
            has_ended = tokenizer.eos_token_id in row
            ids = row[: row.index(tokenizer.eos_token_id)] if has_ended else row
            texts.append(tokenizer.decode(ids, skip_special_tokens=True))
            lengths.append(len(ids))
            ended.append(has_ended)
    pairs = [(turns(ranking), text) for ranking, text in zip(rankings, texts, strict=True)]
    return Answers(texts, client.score(pairs).scores, lengths, ended)


def mean_with_interval(values: list[float], seed: int = 0) -> tuple[float, float, float]:
    """Returns the mean and its 95 % interval by the percentile bootstrap over questions.

    For the difference of two policies give the differences question by question: a paired bootstrap.
    """
    given = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(0, len(given), (_RESAMPLES, len(given)))
    low, high = np.quantile(given[drawn].mean(axis=1), [0.025, 0.975])
    return float(given.mean()), float(low), float(high)
