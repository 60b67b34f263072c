"""A random reward model on disk that every side loads, and texts of known length that every side reads alike.

The tokenizer and chat template are those of the shipped demo model; texts are made of words that are one token each.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig, PreTrainedTokenizerFast

from benchmarks.workloads import WORKLOADS
from model_store.sources import SHIPPED

DEMO = SHIPPED / "demo"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
VOCAB_SIZE = 32_000
MAX_TOKENS = 4096
LENGTHS_SEED = 0

ANSWERS = "assistant\n"
"""A pair is cut before these words of the template, behind a special token: infinity strips the white space off both
halves, and there is none at that place."""


def write_checkpoint(folder: Path, hidden: int, layers: int) -> None:
    """Writes a Llama sequence classifier of the given size whose scores spread by about 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (DEMO / name).exists():
            shutil.copy(DEMO / name, folder / name)
    tokenizer = tokenizer_of(folder)
    config = LlamaConfig(  # type: ignore[call-arg]  # transformers' own classes take their base's fields
        vocab_size=VOCAB_SIZE,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=MAX_TOKENS,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=1.2 / hidden**0.5,
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]


def write_bare_copy(folder: Path, copy: Path) -> None:
    """The same checkpoint for libraries of transformers 4, and without the template that some put around a pair."""
    copy.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.suffix == ".jinja" or path.name == "tokenizer_config.json":
            continue
        os.link(path, copy / path.name)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for newer in ("chat_template", "extra_special_tokens", "backend"):
        settings.pop(newer, None)
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))


def tokenizer_of(folder: Path) -> Any:
    """The checkpoint's tokenizer, as transformers loads it."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


@dataclass(frozen=True, slots=True)
class Text:
    """One pair: rendered whole in the model's template, as its ids, and cut in two before the response."""

    rendered: str
    ids: tuple[int, ...]
    cut: int

    @property
    def halves(self) -> tuple[str, str]:
        """For peers that score (query, document): the same ids, since no token spans the cut (checked when made)."""
        return self.rendered[: self.cut], self.rendered[self.cut :]


def texts_of(name: str, num_pairs: int, seed: int, tokenizer: Any) -> list[Text]:
    """Pairs of a workload as text of random words; the lengths are the same for every seed."""
    rng = random.Random(seed)
    words = one_token_words(tokenizer)
    made: list[Text] = []
    for group in WORKLOADS[name](random.Random(LENGTHS_SEED), num_pairs):
        prompt = _words(rng, words, group.prompt)
        made += (_text(tokenizer, prompt, _words(rng, words, length)) for length in group.responses)
    return made


def one_token_words(tokenizer: Any) -> list[str]:
    """Words that are one token each behind a space."""
    vocab: dict[str, int] = tokenizer.get_vocab()
    words = sorted(
        token[1:] for token in vocab if token.startswith("Ġ") and token[1:].isascii() and token[1:].islower()
    )
    return [word for word in words if len(tokenizer(" " + word, add_special_tokens=False).input_ids) == 1]


def _words(rng: random.Random, words: Sequence[str], length: int) -> str:
    return " ".join(rng.choice(words) for _ in range(length))


def _text(tokenizer: Any, prompt: str, response: str) -> Text:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    rendered: str = tokenizer.apply_chat_template(messages, tokenize=False)
    text = Text(rendered, _ids(tokenizer, rendered), rendered.rindex(ANSWERS, 0, rendered.rindex(response)))
    if tuple(token for half in text.halves for token in _ids(tokenizer, half)) != text.ids:
        raise ValueError(f"a token spans the cut before {ANSWERS!r}; peers that take halves would see other ids")
    return text


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)
