"""Complete small checkpoints on disk, tokenizer and chat template included, as an author would publish them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForSequenceClassification,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

CHATML = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' }}{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|im_start|>assistant\n' }}{% endif %}"
)
"""A ChatML template with BOS once and nothing after the last end of turn."""

SPECIALS = ("<s>", "<pad>", "<|im_start|>", "<|im_end|>")
"""BOS, pad, start and end of a turn: ids 0 to 3."""

CORPUS = ["the quick brown fox jumps over the lazy dog", "user assistant system", "what is the answer to this?"]

FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "llama": (LlamaConfig, {"num_key_value_heads": 2}),
    "mistral": (MistralConfig, {"num_key_value_heads": 2, "sliding_window": 700}),
    "qwen2": (Qwen2Config, {"num_key_value_heads": 2}),
    "qwen3": (Qwen3Config, {"num_key_value_heads": 1, "head_dim": 32}),
}
"""Each packed family's config, and what makes its checkpoint one that could go wrong."""

PLAIN: dict[str, tuple[type, dict[str, Any]]] = {"gemma2": (Gemma2Config, {"num_key_value_heads": 2, "head_dim": 32})}
"""The same of families that take one pair a forward."""


def make_tokenizer(folder: Path, pad: str = "<pad>") -> int:
    """Writes a byte-level BPE tokenizer with a ChatML template; returns the size of its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": pad, "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer.get_vocab_size()


def make_checkpoint(
    folder: Path, family: str = "llama", *, pad: str = "<pad>", max_tokens: int = 4096, **config: Any
) -> Path:
    """Writes a random sequence-classification checkpoint of a family, weights wide enough to spread scores."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab_size = make_tokenizer(folder, pad)
    kind, extra = (FAMILIES | PLAIN)[family]
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.random.fork_rng():
        torch.manual_seed(sum(family.encode()))
        common = {
            "vocab_size": vocab_size,
            "num_labels": 1,
            "max_position_embeddings": max_tokens,
            "pad_token_id": SPECIALS.index(pad),
            "bos_token_id": 0,
            "eos_token_id": 3,
            "initializer_range": 0.1,
        }
        model = AutoModelForSequenceClassification.from_config(kind(**(common | sizes | extra | config)))
    model.save_pretrained(folder)
    return folder
