"""Tiny random backbones of every family, and their engines, for tests of the packed path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers import (
    AutoModel,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from service.engine.heads import LinearHead
from service.engine.torch_engine import EngineOptions, TorchEngine
from service.scheduling.packing import FrameBuilder
from service.types import EncodedPair, Reward
from tests.pairs import job

VOCAB_SIZE = 500
MAX_TOKENS = 1024

SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 96,
    "intermediate_size": 200,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": MAX_TOKENS,
    "initializer_range": 0.2,  # wide enough that hidden states, and so scores, differ from text to text
}

DTYPES = (torch.float32, torch.bfloat16)

GEMMA3: dict[str, Any] = {
    "num_key_value_heads": 2,
    "head_dim": 32,
    "sliding_window": 40,
    "query_pre_attn_scalar": 16,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
"""Windowed and full layers, each kind with a rotary base of its own, and a scale that is not the head's."""

CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE, num_key_value_heads=6),
    "mistral-windowed": lambda: MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=40),
    "qwen2": lambda: Qwen2Config(**SHAPE, num_key_value_heads=2),
    "qwen3": lambda: Qwen3Config(**SHAPE, num_key_value_heads=2, head_dim=32),
    "gemma3": lambda: Gemma3TextConfig(**SHAPE, **GEMMA3),
}


def backbone(family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A fresh random backbone, the same one every time."""
    with torch.random.fork_rng():
        torch.manual_seed(sum(family.encode()))
        model: PreTrainedModel = AutoModel.from_config(CONFIGS[family]())
    return model.to(dtype).eval()


HEAD_WEIGHT_OH = torch.randn(1, SHAPE["hidden_size"], generator=torch.Generator().manual_seed(7)) / 8
"""Random, and of a size that spreads scores by about 1."""


def head() -> LinearHead:
    """A random linear head."""
    return LinearHead(HEAD_WEIGHT_OH)


OPTIONS = EngineOptions(MAX_TOKENS, MAX_TOKENS + 1, num_threads=2, min_packed_weights=0, min_shared_work=0)
"""Two cores to each lone frame of 64 rows, and maps by oneDNN however small, where the processor allows."""


@dataclass(frozen=True)
class Served:
    """An engine that is warm, with a way to score a frame of pairs in the order given."""

    engine: TorchEngine

    def score(self, pairs: list[EncodedPair], explain: bool = False) -> list[Reward]:
        """The rewards of pairs packed into one frame."""
        builder = FrameBuilder(self.engine.info().max_frame_tokens)
        for number, pair in enumerate(pairs):
            assert builder.try_add(job(number, pair, explain=explain))
        return list(self.engine.run(builder.build().frame))


@cache
def served(family: str, dtype: torch.dtype = torch.float32) -> Served:
    """A warm engine, made once a test run."""
    return Served(warm(family, dtype))


def empty(engine: TorchEngine) -> None:
    """Drops all that is kept."""
    engine._kept.drop(list(engine._kept._kept))


def warm(family: str, dtype: torch.dtype = torch.float32) -> TorchEngine:
    """A fresh engine, as after a restart."""
    engine = TorchEngine(backbone(family, dtype), head(), OPTIONS)
    engine.warm_up(lambda words: None)
    return engine
