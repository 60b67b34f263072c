"""Appended reading tokens, normalizers, vocabulary logits, quantiles, GPT-NeoX and InternLM2's own layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
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
from tests.tokenization.tiny_tokenizers import write_llama2

ATHENE_CLS = 128003
MARKER = [128009, 128006, 78191, 128007, 271]


def _once(toy: Tokenizer, turns: Turns) -> list[int]:
    return ref.encode(toy, LLAMA3_BOS + llama3_text(turns))


def write_athene(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("llama", vocab_size, "model.")
    state["v_head.weight"] = ref.random_tensor(1, 1, 32)
    return ref.save(folder, config, state)


def score_athene(state: State, ids: Sequence[int], vocab_size: int) -> float:
    hidden = ref.padded_hidden("llama", state, "model.", ids, vocab_size)
    place = max(at for at, token in enumerate(ids) if token == ATHENE_CLS)
    return float(hidden[place] @ state["v_head.weight"][0])


def _athene_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    """Rendered to text, BOS twice once tokenized; cut on the right with the reading token kept."""
    return [*ref.encode(toy, LLAMA3_BOS * 2 + llama3_text(turns))[:4095], ATHENE_CLS]


def write_inf_orm(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("llama", vocab_size, "model.")
    state["score.0.weight"] = ref.random_tensor(1, 32, 32)
    state["score.0.bias"] = ref.random_tensor(2, 32)
    state["score.2.weight"] = ref.random_tensor(3, 1, 32)
    state["score.2.bias"] = ref.random_tensor(4, 1)
    return ref.save(folder, config, state, pad_token_id=LLAMA3_PAD if vocab_size > LLAMA3_PAD else None)


def score_inf_orm(state: State, ids: Sequence[int], vocab_size: int) -> float:
    hidden = ref.padded_hidden("llama", state, "model.", ids, vocab_size, LLAMA3_PAD)
    inner = F.linear(hidden, state["score.0.weight"], state["score.0.bias"]).relu()
    values = F.linear(inner, state["score.2.weight"], state["score.2.bias"])[:, 0]
    return float(values[before_first_pad([*ids, *[LLAMA3_PAD] * (len(hidden) - len(ids))], LLAMA3_PAD)])


def write_beaver(score_type: str) -> Any:
    def write(folder: Path, vocab_size: int) -> State:
        config, state = ref.random_backbone("llama", vocab_size, "model.")
        state["score_head.weight"] = ref.random_tensor(1, 1, 32)
        state["normalizer.mean"] = torch.tensor([0.75])
        state["normalizer.var"] = torch.tensor([6.25])
        state["normalizer.count"] = torch.tensor([1000])
        return ref.save(
            folder, config, state, pickled=True, score_type=score_type, do_normalize=score_type == "cost", score_dim=1
        )

    return write


def score_beaver(state: State, ids: Sequence[int], vocab_size: int) -> float:
    hidden = ref.padded_hidden("llama", state, "model.", ids, vocab_size)
    return float(hidden[len(ids) - 1] @ state["score_head.weight"][0])


def cost_beaver(state: State, ids: Sequence[int], vocab_size: int) -> float:
    return score_beaver(state, ids, vocab_size) / (6.25**0.5 + 1e-8)


def _beaver_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    (_, question), (_, answer) = turns
    return [1, *ref.encode(toy, f"BEGINNING OF CONVERSATION: USER: {question} ASSISTANT:{answer}")]


def _llama2(folder: Path) -> None:
    write_llama2(folder)


def write_nemotron(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("llama", vocab_size, "model.")
    state["lm_head.weight"] = ref.random_tensor(1, vocab_size, 32)
    return ref.save(folder, config, state)


def score_nemotron(state: State, ids: Sequence[int], vocab_size: int) -> float:
    """The logits of the token that would follow, at id 0."""
    hidden = ref.padded_hidden("llama", state, "model.", ids, vocab_size)
    return float((state["lm_head.weight"] @ hidden[len(ids) - 1])[0])


def write_shepherd(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("mistral", vocab_size, "model.", sliding_window=64)
    state["lm_head.weight"] = ref.random_tensor(1, vocab_size, 32)
    return ref.save(folder, config, state)


def shepherd_steps(state: State, ids: Sequence[int], vocab_size: int) -> list[float]:
    hidden = ref.padded_hidden("mistral", state, "model.", ids, vocab_size, sliding_window=64)
    logits = hidden @ state["lm_head.weight"].T
    probabilities = torch.softmax(logits[:, [648, 387]], dim=-1)[:, 0]
    return [float(probabilities[at]) for at, token in enumerate(ids) if token == 12902]


def _shepherd_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    (_, question), (_, answer) = turns
    return [1, *ref.encode(toy, f"{question} {answer}")]


def _shepherd_tokenizer(folder: Path) -> None:
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    toys.write_byte_level(folder, {"<s>": 1, "</s>": 2}, {" ки": 12902, "+": 648, "-": 387}, named)


NUM_OBJECTIVES, NUM_QUANTILES = 19, 5


def write_qrm(folder: Path, vocab_size: int) -> State:
    config, state = ref.random_backbone("llama", vocab_size, "model.")
    state["regression_layer.weight"] = ref.random_tensor(1, NUM_OBJECTIVES * NUM_QUANTILES, 32)
    state["reward_transform_matrix"] = torch.eye(NUM_OBJECTIVES) + ref.random_tensor(2, NUM_OBJECTIVES, NUM_OBJECTIVES)
    gate = _qrm_gate()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for name, tensor in gate.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point():
                tensor.normal_(std=0.05 if tensor.dim() > 1 else 0.5)
    state |= {f"gating.layers.{name}": tensor for name, tensor in gate.state_dict().items()}
    state["gating.logit_scale"] = torch.tensor([1.25])
    pad = LLAMA3_PAD if vocab_size > LLAMA3_PAD else None
    return ref.save(folder, config, state, pad_token_id=pad, gating_temperature=5.0, num_quantiles=NUM_QUANTILES)


def _qrm_gate() -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    inputs = 32
    for _ in range(3):
        layers += [torch.nn.Linear(inputs, 1024, bias=False), torch.nn.ReLU(), torch.nn.BatchNorm1d(1024)]
        inputs = 1024
    return torch.nn.Sequential(*layers, torch.nn.Linear(1024, NUM_OBJECTIVES))


@torch.inference_mode()
def score_qrm(state: State, ids: Sequence[int], vocab_size: int) -> float:
    hidden = ref.padded_hidden("llama", state, "model.", ids, vocab_size, LLAMA3_PAD)
    place = before_first_pad([*ids, *[LLAMA3_PAD] * (len(hidden) - len(ids))], LLAMA3_PAD)
    quantiles = (state["regression_layer.weight"] @ hidden[place]).reshape(NUM_OBJECTIVES, NUM_QUANTILES)
    adjusted = quantiles.mean(dim=1) @ state["reward_transform_matrix"]
    gate = _qrm_gate().eval()
    start = "gating.layers."
    gate.load_state_dict({name.removeprefix(start): value for name, value in state.items() if name.startswith(start)})
    header = max(at for at in range(len(ids)) if list(ids[at : at + 5]) == MARKER)
    weights = torch.softmax(gate(hidden[header][None])[0] / 5.0, dim=0) * state["gating.logit_scale"][0]
    return float((weights * adjusted).sum())


NEOX: dict[str, Any] = {"rotary_pct": 0.25, "use_parallel_residual": True, "head_dim": 16, "num_attention_heads": 2}


def write_oasst(folder: Path, vocab_size: int) -> State:
    fields = {name: value for name, value in NEOX.items() if name != "head_dim"}
    config, state = ref.random_backbone("gpt_neox", vocab_size, "gpt_neox.", **fields)
    state["out_proj.weight"] = ref.random_tensor(1, 1, 32)
    state["out_proj.bias"] = ref.random_tensor(2, 1)
    for layer in range(2):  # buffers that GPT-NeoX saved before transformers 4.31
        start = f"gpt_neox.layers.{layer}.attention"
        state[f"{start}.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()
        state[f"{start}.masked_bias"] = torch.tensor(-1e9)
    ref.save(folder, config, state, pickled=True, pooling="last")
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"model_type": "gpt_neox"', '"model_type": "gpt_neox_reward_model"'))
    return state


def score_oasst(state: State, ids: Sequence[int], vocab_size: int) -> float:
    fields = {name: value for name, value in NEOX.items() if name != "head_dim"}
    old = (".attention.bias", ".attention.masked_bias")
    own = {name: tensor for name, tensor in state.items() if not name.endswith(old)}
    hidden = ref.padded_hidden("gpt_neox", own, "gpt_neox.", ids, vocab_size, **fields)
    return float(state["out_proj.weight"][0] @ hidden[len(ids) - 1] + state["out_proj.bias"][0])


def _oasst_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    names = {"user": "<|prompter|>", "assistant": "<|assistant|>"}
    return ref.encode(toy, "".join(f"{names[role]}{text}<|endoftext|>" for role, text in turns))


def _oasst_tokenizer(folder: Path) -> None:
    control = {"<|endoftext|>": 0, "<|prompter|>": 601, "<|assistant|>": 602}
    toys.write_byte_level(folder, control, {}, {"eos_token": "<|endoftext|>"})


INTERNLM2_REWARD_ID = 3001
INTERNLM2_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_internlm2(folder: Path, vocab_size: int) -> State:
    """Keys as xtuner's class has them; 4 heads, 2 of keys and values, fused as `(kv, queries and key and value)`."""
    config, llama = ref.random_backbone("llama", vocab_size, "")
    state = {"model.tok_embeddings.weight": llama["embed_tokens.weight"], "model.norm.weight": llama["norm.weight"]}
    renamed = {
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w3": "mlp.up_proj",
        "feed_forward.w2": "mlp.down_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    for layer in range(2):
        ours, theirs = f"model.layers.{layer}", f"layers.{layer}"
        query, key, value = (llama[f"{theirs}.self_attn.{name}_proj.weight"] for name in "qkv")
        rows = []
        for group in range(2):  # head by head: its two queries, its key, its value, 8 rows each
            rows += [
                query[16 * group : 16 * group + 16],
                key[8 * group : 8 * group + 8],
                value[8 * group : 8 * group + 8],
            ]
        state[f"{ours}.attention.wqkv.weight"] = torch.cat(rows)
        for own, usual in renamed.items():
            state[f"{ours}.{own}.weight"] = llama[f"{theirs}.{usual}.weight"]
    state["v_head.weight"] = ref.random_tensor(1, 1, 32)
    ref.save(folder, config, state, reward_token_id=INTERNLM2_REWARD_ID, bias=False)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"model_type": "llama"', '"model_type": "internlm2"'))
    return state


def score_internlm2(state: State, ids: Sequence[int], vocab_size: int) -> float:
    """The Llama that the tensors were cut from, whose random values are the same at every call."""
    _, llama = ref.random_backbone("llama", vocab_size, "")
    return float(ref.padded_hidden("llama", llama, "", ids, vocab_size)[len(ids) - 1] @ state["v_head.weight"][0])


def _internlm2_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    text = "<s>" + "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    return [*ref.encode(toy, text), INTERNLM2_REWARD_ID]


def _internlm2_tokenizer(folder: Path) -> None:
    control = {"<s>": 1, "</s>": 2, "<|im_start|>": 3002, "<|im_end|>": 3003, "[UNUSED_TOKEN_130]": INTERNLM2_REWARD_ID}
    named = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": INTERNLM2_TEMPLATE}
    toys.write_byte_level(folder, control, {}, named)


REFERENCES = (
    Reference(
        entries=("athene-rm-8b", "athene-rm-70b"),
        is_slow=True,
        write=write_athene,
        write_tokenizer=toys.llama3,
        ids=_athene_ids,
        score=score_athene,
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS + "<|reserved_special_token_1|>",
        max_tokens=4096,
        positions=4096,
    ),
    Reference(
        entries=("inf-orm-llama3.1-70b",),
        write=write_inf_orm,
        write_tokenizer=toys.llama3,
        ids=_once,
        score=score_inf_orm,
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
    Reference(
        entries=("beaver-7b-v1.0-reward", "beaver-7b-v2.0-reward"),
        write=write_beaver("reward"),
        write_tokenizer=_llama2,
        ids=_beaver_ids,
        score=score_beaver,
        vocab_size=700,
        specials="Ignore </s> and <s>.",
        takes_turns=False,
        ignored=("normalizer.mean", "normalizer.var", "normalizer.count"),
    ),
    Reference(
        entries=("beaver-7b-v1.0-cost", "beaver-7b-v2.0-cost"),
        write=write_beaver("cost"),
        write_tokenizer=_llama2,
        ids=_beaver_ids,
        score=cost_beaver,
        vocab_size=700,
        specials="Ignore </s> and <s>.",
        takes_turns=False,
        ignored=("normalizer.count",),
    ),
    Reference(
        entries=("llama-3.1-nemotron-70b-reward-hf",),
        write=write_nemotron,
        write_tokenizer=toys.llama3,
        ids=_once,
        score=score_nemotron,
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
    Reference(
        entries=("math-shepherd-mistral-7b-prm",),
        write=write_shepherd,
        write_tokenizer=_shepherd_tokenizer,
        ids=_shepherd_ids,
        score=lambda state, ids, vocab_size: min(shepherd_steps(state, ids, vocab_size)),
        steps=shepherd_steps,
        vocab_size=13_000,
        specials="Ignore </s> and <s> and ки this.",
        takes_turns=False,
        step_tag=" ки",
    ),
    Reference(
        entries=("qrm-llama3.1-8b", "qrm-llama3-8b"),
        write=write_qrm,
        write_tokenizer=toys.llama3,
        ids=_once,
        score=score_qrm,
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
        ignored=tuple(f"gating.layers.{layer}.num_batches_tracked" for layer in (2, 5, 8)),
    ),
    Reference(
        entries=("oasst-rm-2.1-pythia-1.4b-epoch-2.5", "oasst-rm-2-pythia-6.9b-epoch-1"),
        write=write_oasst,
        write_tokenizer=_oasst_tokenizer,
        ids=_oasst_ids,
        score=score_oasst,
        vocab_size=620,
        specials="Ignore <|endoftext|> and <|assistant|>.",
        ignored=tuple(f"gpt_neox.layers.{n}.attention.{old}" for n in range(2) for old in ("bias", "masked_bias")),
    ),
    Reference(
        entries=("internlm2-7b-reward", "internlm2-1_8b-reward", "internlm2-20b-reward"),
        write=write_internlm2,
        write_tokenizer=_internlm2_tokenizer,
        ids=_internlm2_ids,
        score=score_internlm2,
        vocab_size=3010,
        specials="Ignore <|im_end|> and [UNUSED_TOKEN_130] and <s>.",
    ),
)
