"""What a reference for a catalogue entry is: a published layout with random values, and the authors' way to a score.

References are written from the facts alone, knowing nothing of our manifests, loader, frames or readouts: text is
put together by hand, tokenized by the tokenizers library, and computed in one padded row by transformers' own class.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModel

from tests.catalogue.toy_tokenizers import tokenizer

PADDED = 2048
"""Rows are padded to so many tokens, or to a power of two of them if they are longer."""

Turns = Sequence[tuple[str, str]]
"""`(role, content)` of each turn, the response's last."""

State = dict[str, Tensor]

Writer = Callable[[Path, int], State]
"""Writes a layout for a vocabulary size."""


@dataclass(frozen=True)
class Reference:
    """One way to score, and the entries that claim to score that way.

    Attributes:
        entries: Catalogue names; the others differ from the first in names and sources only.
        write: Writes config.json and weights in the published layout for a vocabulary size; returns the state dict.
        write_tokenizer: Writes the tokenizer's folder.
        ids: The authors' token ids of a conversation.
        score: The authors' score of token ids.
        vocab_size: Rows of the embedding when text is scored.
        specials: Control strings for user text.
        takes_turns: Whether more than one user turn is allowed.
        max_tokens: Where the authors truncate, or None where they do not.
        positions: The longest pair that is served.
        ignored: Tensors whose absence or shape nobody minds.
        steps: The authors' values of a process model's steps.
        objectives: The authors' values of a multi-objective model.
        step_tag: What callers of this model write behind each step themselves.
        is_slow: Whether its rows take seconds each; then only what `conftest.QUICK` names runs in `make test`.
        side_files: Pickled files beside the weights, and how their tensors are called in the state dict.
    """

    entries: tuple[str, ...]
    write: Writer
    write_tokenizer: Callable[[Path], None]
    ids: Callable[[Tokenizer, Turns], list[int]]
    score: Callable[[State, Sequence[int], int], float]
    vocab_size: int
    specials: str
    takes_turns: bool = True
    max_tokens: int | None = None
    positions: int = 1024
    ignored: tuple[str, ...] = ()
    steps: Callable[[State, Sequence[int], int], list[float]] | None = None
    objectives: Callable[[State, Sequence[int], int], list[float]] | None = None
    step_tag: str = ""
    is_slow: bool = False
    side_files: dict[str, str] = field(default_factory=dict)


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.3,
}


def config_of(family: str, vocab_size: int, **fields: Any) -> Any:
    """A tiny config of a family."""
    config: Any = CONFIG_MAPPING[family](**(SIZES | {"vocab_size": vocab_size} | fields))
    return config


def random_backbone(family: str, vocab_size: int, prefix: str, **fields: Any) -> tuple[Any, State]:
    """A config and random weights of a backbone, named as in a file; weights spread enough to tell texts apart."""
    config = config_of(family, vocab_size, **fields)
    with torch.random.fork_rng():
        torch.manual_seed(sum(family.encode()) + 1)
        model: Any = AutoModel.from_config(config)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # norms and biases are otherwise all alike
                torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name.lower() else 0.0, std=0.2)
    return config, {prefix + name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def random_tensor(seed: int, *shape: int, std: float = 0.25) -> Tensor:
    """The same values for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * std


def save(folder: Path, config: Any, state: State, *, pickled: bool = False, **fields: Any) -> State:
    """Writes config.json, with further fields, and the weights as safetensors or as a pickled state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=1))
    write_weights(folder, state, pickled=pickled)
    return state


class Rewriter:
    """Writes a reference's weights anew, each tensor into the file it belongs to, and only files that differ."""

    def __init__(self, reference: Reference, folder: Path, *, pickled: bool) -> None:
        self._reference, self._folder, self._pickled = reference, folder, pickled
        self._written: dict[str, State] = {}

    def write(self, state: State) -> None:
        """Tensors that are the same objects as at the last call are taken as unchanged."""
        own = dict(state)
        for file, prefix in self._reference.side_files.items():
            side = {name.removeprefix(prefix): own.pop(name) for name in list(own) if name.startswith(prefix)}
            if self._differs(file, side):
                torch.save(side, self._folder / file)
        if self._differs("", own):
            write_weights(self._folder, own, pickled=self._pickled)

    def _differs(self, file: str, state: State) -> bool:
        before = self._written.get(file)
        self._written[file] = state
        return before is None or {n: id(t) for n, t in before.items()} != {n: id(t) for n, t in state.items()}


def write_weights(folder: Path, state: State, *, pickled: bool) -> None:
    """Writes the main file alone."""
    if pickled:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")


@torch.inference_mode()
def padded_hidden(
    family: str, state: State, prefix: str, ids: Sequence[int], vocab_size: int, pad_id: int = 0, **fields: Any
) -> Tensor:
    """Hidden states of one row padded on the right to a fixed length, the pads masked, (padded length, H)."""
    model: Any = AutoModel.from_config(config_of(family, vocab_size, **fields))
    inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    model.load_state_dict(inner, strict=True)
    length = PADDED
    while length < len(ids):
        length *= 2
    row = torch.tensor([[*ids, *[pad_id] * (length - len(ids))]])
    mask = torch.tensor([[1] * len(ids) + [0] * (length - len(ids))])
    hidden: Tensor = model.eval()(input_ids=row, attention_mask=mask).last_hidden_state[0]
    return hidden


def encode(toy: Tokenizer, text: str) -> list[int]:
    """A text's ids, control strings parsed, nothing added: what `tokenizer(text, add_special_tokens=False)` gives."""
    ids: list[int] = toy.encode(text, add_special_tokens=False).ids
    return ids


def folder_of(reference: Reference, folder: Path, vocab_size: int | None = None) -> tuple[State, Tokenizer]:
    """Writes everything a reference's model consists of."""
    reference.write_tokenizer(folder)
    return reference.write(folder, vocab_size or reference.vocab_size), tokenizer(folder)
