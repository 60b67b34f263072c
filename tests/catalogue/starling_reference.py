"""Starling as its published code scores: written from the facts, knowing nothing of our loader, frames or readouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from tests.catalogue import toy_tokenizers as toys
from tests.catalogue.reference import Reference, Turns, encode
from tests.tokenization.tiny_tokenizers import write_llama2

SLOTS = 2048
VOCAB_SIZE = 320


class PublishedClass(torch.nn.Module):
    """The card's class: the causal model, its inner model a second time, and a head without bias."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.model = LlamaForCausalLM(config)
        self.transformer = self.model.model
        self.v_head = torch.nn.Linear(config.hidden_size, 1, bias=False)


def config(vocab_size: int = VOCAB_SIZE, key_value_heads: int = 4) -> LlamaConfig:
    """A tiny Llama-2 of the published config's kind: no pad token, 4,096 positions."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        initializer_range=0.3,
    )


def write_7b(folder: Path, vocab_size: int = VOCAB_SIZE) -> dict[str, Tensor]:
    """Writes the 7B's layout with random values: a pickled state dict with both aliases, and config.json."""
    torch.manual_seed(11)
    state = PublishedClass(config(vocab_size)).state_dict()
    state["v_head.weight"] = torch.randn(1, 32) / 4
    _write(folder, state, vocab_size)
    return state


def write_34b(folder: Path, vocab_size: int = VOCAB_SIZE) -> dict[str, Tensor]:
    """Writes the 34B's layout: `transformer.*` and the head, in grouped-query attention as Yi has it."""
    torch.manual_seed(12)
    inner = LlamaModel(config(vocab_size, key_value_heads=2)).state_dict()
    state = {f"transformer.{name}": tensor for name, tensor in inner.items()}
    state["v_head.weight"] = torch.randn(1, 32) / 4
    _write(folder, state, vocab_size, key_value_heads=2)
    return state


def _write(folder: Path, state: dict[str, Tensor], vocab_size: int, **shape: Any) -> None:
    folder.mkdir(exist_ok=True)
    config(vocab_size, **shape).save_pretrained(folder)
    torch.save(state, folder / "pytorch_model.bin")


def backbone_of(state: dict[str, Tensor], vocab_size: int = VOCAB_SIZE, key_value_heads: int = 4) -> LlamaModel:
    """The inner model with the weights of `transformer.*`."""
    model = LlamaModel(config(vocab_size, key_value_heads))
    start = "transformer."
    model.load_state_dict({name.removeprefix(start): value for name, value in state.items() if name.startswith(start)})
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def card_score(state: dict[str, Tensor], ids: Sequence[int], vocab_size: int = VOCAB_SIZE) -> float:
    """The card's rule: left truncation to 2,048 behind BOS, padding with 0 to 2,048 on the right, the last slot."""
    kept = list(ids) if len(ids) <= SLOTS else [ids[0], *ids[len(ids) - SLOTS + 1 :]]
    padding = SLOTS - len(kept)
    row = torch.tensor([[*kept, *[0] * padding]])
    mask = torch.tensor([[1] * len(kept) + [0] * padding])
    hidden = backbone_of(state, vocab_size)(input_ids=row, attention_mask=mask).last_hidden_state
    return float((hidden[0] @ state["v_head.weight"].T)[-1, 0])


@torch.inference_mode()
def score_34b(state: dict[str, Tensor], ids: Sequence[int], vocab_size: int = VOCAB_SIZE) -> float:
    """The 34B's rule: the token before the first id 0, else the last; padded to 2,048 with 0."""
    row = torch.tensor([[*ids, *[0] * (SLOTS - len(ids))]])
    mask = torch.tensor([[1] * len(ids) + [0] * (SLOTS - len(ids))])
    hidden = backbone_of(state, vocab_size, key_value_heads=2)(input_ids=row, attention_mask=mask).last_hidden_state
    zeros = (row[0] == 0).nonzero()
    place = int(zeros[0]) - 1 if len(zeros) else SLOTS - 1
    return float((hidden[0] @ state["v_head.weight"].T)[place, 0])


@torch.inference_mode()
def last_token_score(state: dict[str, Tensor], ids: Sequence[int], vocab_size: int = VOCAB_SIZE) -> float:
    """The same row, read at the last of its own tokens."""
    row = torch.tensor([[*ids, *[0] * (SLOTS - len(ids))]])
    mask = torch.tensor([[1] * len(ids) + [0] * (SLOTS - len(ids))])
    hidden = backbone_of(state, vocab_size)(input_ids=row, attention_mask=mask).last_hidden_state
    return float((hidden[0] @ state["v_head.weight"].T)[len(ids) - 1, 0])


def _cut_left(ids: list[int], num_bos: int) -> list[int]:
    """The last 2,048 tokens, with the BOS that the tokenizer adds kept in front."""
    return ids if len(ids) <= SLOTS else [*ids[:num_bos], *ids[len(ids) - SLOTS + num_bos :]]


def _card_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    """The card's sample text, with the tokenizer's BOS before the one that it writes."""
    (_, question), (_, answer) = turns
    return _cut_left([1, *encode(toy, f"<s>[INST] {question} </s> [/INST] {answer}</s>")], 1)


def _turns_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    """The text of the authors' APA and PPO runs: every content stripped, turns joined by a space, one BOS."""
    pieces = [f"[INST] {text.strip()} [/INST]" if role == "user" else f" {text.strip()}</s>" for role, text in turns]
    text = " ".join("".join(pieces[place : place + 2]) for place in range(0, len(pieces), 2))
    return _cut_left([1, *encode(toy, text)], 1)


def _chatml_ids(toy: Tokenizer, turns: Turns) -> list[int]:
    text = "\n".join(f"<|im_start|>{role}\n{text}<|im_end|>" for role, text in turns)
    return _cut_left(encode(toy, text), 0)


def _llama2(folder: Path) -> None:
    write_llama2(folder)


_SEVEN_B: dict[str, Any] = {
    "write": write_7b,
    "write_tokenizer": _llama2,
    "vocab_size": 700,
    "specials": "Ignore </s> and <s> and <unk>.",
    "max_tokens": SLOTS,
    "positions": SLOTS,
}

REFERENCES = (
    Reference(entries=("starling-rm-7b-alpha",), ids=_card_ids, score=card_score, takes_turns=False, **_SEVEN_B),
    Reference(
        entries=("starling-rm-7b-alpha-last-token",),
        ids=_card_ids,
        score=last_token_score,
        takes_turns=False,
        **_SEVEN_B,
    ),
    Reference(entries=("starling-rm-7b-alpha-turns",), ids=_turns_ids, score=card_score, **_SEVEN_B),
    Reference(
        entries=("starling-rm-34b",),
        write=write_34b,
        write_tokenizer=toys.yi,
        ids=_chatml_ids,
        score=score_34b,
        vocab_size=1000,
        specials="Ignore <|im_end|> and <unk> and <|startoftext|>.",
        max_tokens=SLOTS,
        positions=SLOTS,
    ),
)
"""Their tensors are harmed in test_starling.py, which knows of the copies under aliases."""
