"""URM: a head that gives means and spreads of five attributes, and two ways to weigh the means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from tests.catalogue import reference as ref
from tests.catalogue import toy_tokenizers as toys
from tests.catalogue.reference import Reference, State, Turns
from tests.catalogue.seqcls_references import (
    LLAMA3_BOS,
    LLAMA3_PAD,
    LLAMA3_SPECIALS,
    LLAMA3_VOCAB,
    before_first_pad,
    llama3_text,
)

PRIOR = (0.3, 0.74, 0.46, 0.47, -0.33)
"""URM-LLaMa-3-8B's card: helpfulness, correctness, coherence, complexity, verbosity."""


def write_urm(*, has_gate: bool) -> ref.Writer:
    def write(folder: Path, vocab_size: int) -> State:
        config, state = ref.random_backbone("llama", vocab_size, "model.")
        state["score.weight"] = ref.random_tensor(1, 10, 32)
        for seed, (place, outputs) in enumerate(((0, 32), (2, 32), (4, 5)) if has_gate else ()):
            state[f"weights.fc.{place}.weight"] = ref.random_tensor(10 + seed, outputs, 32)
            state[f"weights.fc.{place}.bias"] = ref.random_tensor(20 + seed, outputs)
        return ref.save(folder, config, state, pad_token_id=LLAMA3_PAD if vocab_size > LLAMA3_PAD else None)

    return write


def _read(state: State, ids: Sequence[int], vocab_size: int) -> tuple[Tensor, Tensor]:
    """The state that is read, and the head's ten outputs as (attribute, mean and spread)."""
    hidden = ref.padded_hidden("llama", state, "model.", ids, vocab_size, LLAMA3_PAD)
    place = before_first_pad([*ids, *[LLAMA3_PAD] * (len(hidden) - len(ids))], LLAMA3_PAD)
    return hidden[place], (state["score.weight"] @ hidden[place]).view(5, 2)


def _weights(state: State, hidden: Tensor) -> Tensor:
    weights = hidden
    for place in (0, 2, 4):
        weights = F.linear(weights, state[f"weights.fc.{place}.weight"], state[f"weights.fc.{place}.bias"])
        weights = F.selu(weights) if place < 4 else weights
    return weights


def gated_score(state: State, ids: Sequence[int], vocab_size: int) -> float:
    hidden, normals = _read(state, ids, vocab_size)
    return float((normals[:, 0] * _weights(state, hidden)).sum())


def fixed_score(state: State, ids: Sequence[int], vocab_size: int) -> float:
    _, normals = _read(state, ids, vocab_size)
    return sum(float(mean) * weight for mean, weight in zip(normals[:, 0], PRIOR, strict=True))


def _twice(toy: Tokenizer, turns: Turns) -> list[int]:
    return ref.encode(toy, LLAMA3_BOS * 2 + llama3_text(turns))


REFERENCES = (
    Reference(
        entries=("urm-llama-3.1-8b",),
        write=write_urm(has_gate=True),
        write_tokenizer=toys.llama3,
        ids=_twice,
        score=gated_score,
        objectives=lambda state, ids, vocab_size: _read(state, ids, vocab_size)[1][:, 0].tolist(),
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
    Reference(
        entries=("urm-llama-3-8b",),
        write=write_urm(has_gate=False),
        write_tokenizer=toys.llama3,
        ids=_twice,
        score=fixed_score,
        objectives=lambda state, ids, vocab_size: _read(state, ids, vocab_size)[1].flatten().tolist(),
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
)
