"""Process reward models: one value for each step of the response."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from tests.catalogue import reference as ref
from tests.catalogue import toy_tokenizers as toys
from tests.catalogue.reference import Reference, State, Turns
from tests.catalogue.seqcls_references import QWEN_VOCAB, qwen_text

EXTRA_0 = 151651


def write_qwen_prm(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("qwen2", vocab_size, "model.")
    state["score.0.weight"] = ref.random_tensor(1, 32, 32)
    state["score.0.bias"] = ref.random_tensor(2, 32)
    state["score.2.weight"] = ref.random_tensor(3, 2, 32)
    state["score.2.bias"] = ref.random_tensor(4, 2)
    return ref.save(folder, config, state)


def qwen_prm_steps(state: State, ids: Sequence[int], vocab_size: int) -> list[float]:
    """The card: softmax over two classes at every position, the second one where the token is `<extra_0>`."""
    hidden = ref.padded_hidden("qwen2", state, "model.", ids, vocab_size)
    inner = F.linear(hidden, state["score.0.weight"], state["score.0.bias"]).relu()
    logits = F.linear(inner, state["score.2.weight"], state["score.2.bias"])
    probabilities = torch.softmax(logits, dim=-1)[:, 1]
    return [float(probabilities[place]) for place, token in enumerate(ids) if token == EXTRA_0]


def _qwen_prm_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    """Steps of the response, split at blank lines, each followed by `<extra_0>`."""
    role, response = turns[-1]
    marked = "".join(step + "<extra_0>" for step in response.split("\n\n"))
    return ref.encode(toy, qwen_text((*turns[:-1], (role, marked))))


REFERENCES = (
    Reference(
        entries=("qwen2.5-math-prm-7b", "qwen2.5-math-prm-72b"),
        write=write_qwen_prm,
        write_tokenizer=toys.qwen,
        ids=_qwen_prm_ids,
        score=lambda state, ids, vocab_size: math.prod(qwen_prm_steps(state, ids, vocab_size)),
        steps=qwen_prm_steps,
        vocab_size=QWEN_VOCAB,
        specials="Ignore <|im_end|> and <extra_0> and <|endoftext|>.",
    ),
)
