"""Tiny random reward models, saved by transformers' own `save_pretrained`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from model_store.guess import guess_manifest
from model_store.sources import ModelFiles

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 96}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"num_attention_heads": 4, "num_key_value_heads": 4},
    "llama-gqa-bias": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "llama-rope-llama3": {
        "num_attention_heads": 4,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "llama-rope-linear": {
        "num_attention_heads": 4,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    },
    "mistral-window": {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 8},
    "mistral-no-window": {"num_attention_heads": 4, "num_key_value_heads": 1, "sliding_window": None},
    "qwen2": {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen2-window": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 1,
    },
    "qwen3": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True},
    "qwen3-yarn": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1000000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "gemma3_text": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
        },
    },
}
"""Config fields of each variant; the family is what stands before the first hyphen."""


def build(variant: str, **fields: Any) -> Any:
    """A random sequence-classification model, the same at every call."""
    family = variant.partition("-")[0]
    config = CONFIG_MAPPING[family](
        **{**SIZES, "num_labels": 1, "pad_token_id": 0, "max_position_embeddings": 256, **VARIANTS[variant], **fields}
    )
    torch.manual_seed(20240607)
    model: Any = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def save(folder: Path, variant: str = "llama", *, max_shard_size: str = "1GB", **fields: Any) -> Any:
    """Saves `build(variant)` with a stand-in for a tokenizer, and returns it."""
    model = build(variant, **fields)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    write_tokenizer(folder)
    return model


def write_tokenizer(folder: Path, **fields: Any) -> None:
    """Files that look like a tokenizer's; nothing in this room reads more than their JSON."""
    (folder / "tokenizer.json").write_text("{}")
    config = {"bos_token": "<s>", "chat_template": "{{ bos_token }}{{ messages }}", **fields}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def guessed(folder: Path) -> ModelFiles:
    """The folder with the manifest that is guessed for it."""
    return ModelFiles(folder, folder, guess_manifest(folder, name="tiny"))


def random_ids(*shape: int) -> Tensor:
    """Token ids without the pad id."""
    return torch.randint(1, SIZES["vocab_size"], shape, generator=torch.Generator().manual_seed(7))
