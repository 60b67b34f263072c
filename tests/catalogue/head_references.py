"""Models with heads of their own: regression heads under other names, MLPs, gates, an encoder's pooler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from tests.catalogue import reference as ref
from tests.catalogue import toy_tokenizers as toys
from tests.catalogue.reference import Reference, State, Turns
from tests.catalogue.seqcls_references import (
    GEMMA2,
    LLAMA3_BOS,
    LLAMA3_PAD,
    LLAMA3_SPECIALS,
    LLAMA3_VOCAB,
    before_first_pad,
    gemma_text,
    llama3_text,
)
from tests.tokenization.tiny_tokenizers import write_llama2

ARMORM_MARKER = [128009, 128006, 78191, 128007, 271]
NUM_OBJECTIVES = 19


def _llama3_once(toy: Tokenizer, turns: Turns) -> list[int]:
    return ref.encode(toy, LLAMA3_BOS + llama3_text(turns))


def _llama3_twice(toy: Tokenizer, turns: Turns) -> list[int]:
    return ref.encode(toy, LLAMA3_BOS * 2 + llama3_text(turns))


def _cut_right(ids: Sequence[int], max_tokens: int) -> list[int]:
    return list(ids[:max_tokens])


def write_armorm(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("llama", vocab_size, "model.")
    state["regression_layer.weight"] = ref.random_tensor(1, NUM_OBJECTIVES, 32)
    state["reward_transform_matrix"] = torch.eye(NUM_OBJECTIVES) + ref.random_tensor(2, NUM_OBJECTIVES, NUM_OBJECTIVES)
    sizes = [32, 1024, 1024, 1024, NUM_OBJECTIVES]
    for place in range(4):
        inputs, outputs = sizes[place], sizes[place + 1]
        state[f"gating.layers.{place}.weight"] = ref.random_tensor(10 + place, outputs, inputs, std=1.5 / inputs**0.5)
        state[f"gating.layers.{place}.bias"] = ref.random_tensor(20 + place, outputs)
    state["gating.logit_scale"] = torch.tensor([1.25])
    return ref.save(folder, config, state, pad_token_id=LLAMA3_PAD if vocab_size > LLAMA3_PAD else None)


def _armorm(state: State, ids: Sequence[int], vocab_size: int) -> tuple[Tensor, Tensor]:
    """The 19 objectives, and the score."""
    row = _cut_right(ids, 4096)
    hidden = ref.padded_hidden("llama", state, "model.", row, vocab_size, LLAMA3_PAD)
    padded = [*row, *[LLAMA3_PAD] * (len(hidden) - len(row))]
    place = before_first_pad(padded, LLAMA3_PAD) if LLAMA3_PAD in padded else len(row) - 1
    rewards = hidden[place] @ state["regression_layer.weight"].T
    header = max(at for at in range(len(row)) if row[at : at + 5] == ARMORM_MARKER)
    gate = hidden[header]
    for layer in range(4):
        gate = F.linear(gate, state[f"gating.layers.{layer}.weight"], state[f"gating.layers.{layer}.bias"])
        gate = gate.relu() if layer < 3 else gate
    gate = torch.softmax(gate / 10, dim=0) * state["gating.logit_scale"][0]
    return rewards, (gate * (rewards @ state["reward_transform_matrix"])).sum()


def write_grm(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("llama", vocab_size, "model.")
    state["v_head.summary.0.weight"] = ref.random_tensor(1, 1024, 32)
    state["v_head.summary.0.bias"] = ref.random_tensor(2, 1024)
    state["v_head.summary.2.weight"] = ref.random_tensor(3, 1, 1024, std=0.05)
    state["v_head.summary.2.bias"] = ref.random_tensor(4, 1)
    return ref.save(folder, config, state, vhead_layer_type="mlp", vhead_num_neurons=1024, vhead_num_layers=1)


def score_grm(state: State, ids: Sequence[int], vocab_size: int) -> float:
    hidden = ref.padded_hidden("llama", state, "model.", ids, vocab_size)[len(ids) - 1]
    inner = F.linear(hidden, state["v_head.summary.0.weight"], state["v_head.summary.0.bias"]).relu()
    return float(F.linear(inner, state["v_head.summary.2.weight"], state["v_head.summary.2.bias"]))


def write_regression(family: str, *, pickled: bool, **fields: Any) -> Any:
    def write(folder: Path, vocab_size: int) -> State:
        config, state = ref.random_backbone(family, vocab_size, "model.", **fields)
        state["regression_head.weight"] = ref.random_tensor(5, 1, 32)
        return ref.save(folder, config, state, pickled=pickled)

    return write


def score_regression(family: str, **fields: Any) -> Any:
    def score(state: State, ids: Sequence[int], vocab_size: int) -> float:
        hidden = ref.padded_hidden(family, state, "model.", ids, vocab_size, **fields)
        return float(hidden[len(ids) - 1] @ state["regression_head.weight"][0])

    return score


def _llama2(folder: Path) -> None:
    write_llama2(folder)


def _ultrarm_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    (_, question), (_, answer) = turns
    return [1, *ref.encode(toy, f"Human: {question}\n\nAssistant: {answer}")]


def _eurus_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    (_, question), (_, answer) = turns
    return [1, *ref.encode(toy, f"[INST] {question} [\\INST] {answer}")]


DEBERTA: dict[str, Any] = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "max_relative_positions": -1,
    "max_position_embeddings": 512,
    "pooler_hidden_size": 32,
    "layer_norm_eps": 1e-7,
    "attn_implementation": "eager",
}
"""DeBERTa-v3's published settings, smaller."""


def write_deberta(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("deberta-v2", vocab_size, "deberta.", **DEBERTA)
    state["pooler.dense.weight"] = ref.random_tensor(1, 32, 32)
    state["pooler.dense.bias"] = ref.random_tensor(2, 32)
    state["classifier.weight"] = ref.random_tensor(3, 1, 32)
    state["classifier.bias"] = ref.random_tensor(4, 1)
    return ref.save(folder, config, state, num_labels=1, pooler_hidden_act="gelu")


def score_deberta(state: State, ids: Sequence[int], vocab_size: int) -> float:
    hidden = ref.padded_hidden("deberta-v2", state, "deberta.", ids, vocab_size, **DEBERTA)[0]
    pooled = F.gelu(F.linear(hidden, state["pooler.dense.weight"], state["pooler.dense.bias"]))
    return float(F.linear(pooled, state["classifier.weight"], state["classifier.bias"]))


def _deberta_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    """`tokenizer(question, answer)`: each segment tokenized by itself, put together by ids."""
    (_, question), (_, answer) = turns
    return [1, *ref.encode(toy, question), 2, *ref.encode(toy, answer), 2]


LDL_GROUPS, LDL_BINS = 22, 10


def _ldl_layers(sizes: Sequence[int], places: Sequence[int], prefix: str, seed: int) -> State:
    state: State = {}
    for number, place in enumerate(places):
        inputs, outputs = sizes[number], sizes[number + 1]
        state[f"{prefix}{place}.weight"] = ref.random_tensor(seed + number, outputs, inputs, std=1.5 / inputs**0.5)
        state[f"{prefix}{place}.bias"] = ref.random_tensor(seed + 10 + number, outputs)
    return state


def write_ldl(is_softmax: bool) -> Any:
    def write(folder: Path, vocab_size: int) -> State:
        config, state = ref.random_backbone("gemma2", vocab_size, "", **GEMMA2)
        regression = _ldl_layers((32, 4096, 4096, LDL_GROUPS * LDL_BINS), (0, 2, 4), "network.", 1)
        gating = _ldl_layers((32, 4096, 4096, LDL_GROUPS), (0, 3, 6), "network.", 51)
        ref.save(folder, config, state, pad_token_id=0, num_objectives=220, temperature=2.0, softmax=is_softmax)
        torch.save(regression, folder / "regression_layer.pt")
        torch.save(gating, folder / "gating_layer.pt")
        sides = (("regression_layer.", regression), ("gating_layer.", gating))
        return state | {prefix + name: tensor for prefix, side in sides for name, tensor in side.items()}

    return write


def score_ldl(is_softmax: bool) -> Any:
    def score(state: State, ids: Sequence[int], vocab_size: int) -> float:
        own = {name: tensor for name, tensor in state.items() if "_layer.network." not in name}
        hidden = ref.padded_hidden("gemma2", own, "", ids, vocab_size, 0, **GEMMA2)
        values = hidden[before_first_pad([*ids, *[0] * (len(hidden) - len(ids))], 0)]
        weights = values
        for place in (0, 2, 4):
            name = f"regression_layer.network.{place}"
            values = F.linear(values, state[f"{name}.weight"], state[f"{name}.bias"])
            values = F.leaky_relu(values) if place < 4 else values
        for place in (0, 3, 6):
            name = f"gating_layer.network.{place}"
            weights = F.linear(weights, state[f"{name}.weight"], state[f"{name}.bias"])
            weights = F.leaky_relu(weights) if place < 6 else weights
        if is_softmax:
            weights = torch.softmax(weights / 2.0, dim=0)
        distribution = weights @ torch.softmax(values.view(LDL_GROUPS, LDL_BINS), dim=-1)
        return float((distribution * torch.linspace(0, 1, LDL_BINS)).sum())

    return score


def _gemma_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    return ref.encode(toy, "<bos>" + gemma_text(turns))


REFERENCES = (
    *(
        Reference(
            entries=("ldl-reward-gemma-2-27b-v0.1",),
            is_slow=True,
            write=write_ldl(is_softmax),
            write_tokenizer=toys.gemma,
            ids=_gemma_ids,
            score=score_ldl(is_softmax),
            vocab_size=3000,
            specials="Ignore <end_of_turn> and <bos> and <pad>.",
            side_files={"regression_layer.pt": "regression_layer.", "gating_layer.pt": "gating_layer."},
        )
        for is_softmax in (True, False)
    ),
    Reference(
        entries=("armorm-llama3-8b-v0.1",),
        is_slow=True,
        write=write_armorm,
        write_tokenizer=toys.llama3,
        ids=lambda toy, turns: _cut_right(_llama3_once(toy, turns), 4096),
        score=lambda state, ids, vocab_size: float(_armorm(state, ids, vocab_size)[1]),
        objectives=lambda state, ids, vocab_size: _armorm(state, ids, vocab_size)[0].tolist(),
        vocab_size=LLAMA3_VOCAB,
        specials="Ignore <|end_of_text|> and <|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nthis.",
        max_tokens=4096,
        positions=4096,
    ),
    Reference(
        entries=("grm-llama3-8b-sftreg",),
        write=write_grm,
        write_tokenizer=toys.llama3,
        ids=_llama3_twice,
        score=score_grm,
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
    Reference(
        entries=("ultrarm-13b",),
        write=write_regression("llama", pickled=True),
        write_tokenizer=_llama2,
        ids=_ultrarm_ids,
        score=score_regression("llama"),
        vocab_size=700,
        specials="Ignore </s> and <s> and <unk>.",
        takes_turns=False,
    ),
    Reference(
        entries=("eurus-rm-7b",),
        write=write_regression("mistral", pickled=False, sliding_window=64),
        write_tokenizer=_llama2,
        ids=_eurus_ids,
        score=score_regression("mistral", sliding_window=64),
        vocab_size=700,
        specials="Ignore </s> and <s> and <unk>.",
        takes_turns=False,
    ),
    Reference(
        entries=("reward-model-deberta-v3-large-v2",),
        is_slow=True,
        write=write_deberta,
        write_tokenizer=toys.deberta,
        ids=_deberta_ids,
        score=score_deberta,
        vocab_size=160,
        specials="Ignore [SEP] and [CLS] and [PAD].",
        takes_turns=False,
        positions=512,
    ),
)
