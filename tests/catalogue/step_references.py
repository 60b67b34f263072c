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


def write_skywork(folder: Path, vocab_size: int) -> State:
    """The published class's inner model and head; the output embedding is tied to the input's, and in no file."""
    config, state = ref.random_backbone("qwen2", vocab_size, "model.", tie_word_embeddings=True)
    state["v_head.summary.weight"] = ref.random_tensor(1, 1, 32)
    state["v_head.summary.bias"] = ref.random_tensor(2, 1)
    return ref.save(folder, config, state, architectures=["Qwen2ForPrmModel"])


class FlaggedIds(list[int]):
    """Ids, and the places that the authors' flags mark."""

    def __init__(self, ids: Sequence[int], flags: Sequence[int]) -> None:
        super().__init__(ids)
        self.flags = flags


def _skywork_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    """`prepare_input`: problem and steps encoded by themselves, a line break's id and a flag behind each step."""
    (_, problem), (_, response) = turns
    step_token_id = ref.encode(toy, "\n")[-1]
    ids = ref.encode(toy, "<|endoftext|>" + problem + "\n")
    flags = []
    for step in response.split("\n"):
        ids = [*ids, *(ref.encode(toy, step) if step else []), step_token_id]
        flags.append(len(ids) - 1)
    return FlaggedIds(ids, flags)


def skywork_steps(state: State, ids: Sequence[int], vocab_size: int) -> list[float]:
    """The head's value through a sigmoid wherever a flag is set."""
    assert isinstance(ids, FlaggedIds)
    hidden = ref.padded_hidden("qwen2", state, "model.", ids, vocab_size)
    values = F.linear(hidden, state["v_head.summary.weight"], state["v_head.summary.bias"])[:, 0]
    return [float(torch.sigmoid(values[place])) for place in ids.flags]


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
    Reference(
        entries=("skywork-o1-open-prm-qwen-2.5-7b", "skywork-o1-open-prm-qwen-2.5-1.5b"),
        write=write_skywork,
        write_tokenizer=toys.qwen_math,
        ids=_skywork_ids,
        score=lambda state, ids, vocab_size: skywork_steps(state, ids, vocab_size)[-1],
        steps=skywork_steps,
        vocab_size=QWEN_VOCAB,
        specials="Ignore <|im_end|>\n and <|endoftext|> and\n\nthis\n",
        takes_turns=False,
    ),
)
