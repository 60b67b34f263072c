"""The sides of the engine's comparison, on one and the same random backbone: our frames, and plain transformers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, LlamaConfig

from benchmarks.engine_frames import FrameRunner
from service.engine.devices import default_frame_tokens, default_num_threads
from service.engine.heads import LinearHead
from service.engine.torch_engine import EngineOptions, TorchEngine
from service.types import EncodedPair

HEAD_SEED = 7
MAX_TOKENS = 2048
"""The longest pair of any workload lies below it."""

KEPT_TOKENS = 8 * MAX_TOKENS
"""Capacity of the prefix cache: prompts that several frames share, and pairs longer than a frame."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama's sizes."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocab: int


SHAPES = {
    "tiny": Shape(64, 2, 4, 128, 500),
    "small": Shape(512, 8, 8, 1408, 32_000),
    "llama-2-7b": Shape(4096, 32, 32, 11_008, 32_000),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """A warm engine, and a copy of its backbone as transformers made it, for the plain sides."""

    engine: TorchEngine
    runner: FrameRunner
    num_threads: int
    backbone: Any
    head: LinearHead
    device: torch.device

    def frames(self, pairs: Sequence[EncodedPair]) -> tuple[list[float], int]:
        """Scores by our packed frames, and the tokens computed."""
        self.use_own_threads()
        return self.runner.scores(pairs)

    def one_at_a_time(self, pairs: Sequence[EncodedPair]) -> tuple[list[float], int]:
        """Scores by one plain forward for each pair: the oracle."""
        return self.padded(pairs, 1)

    def padded(self, pairs: Sequence[EncodedPair], batch_size: int) -> tuple[list[float], int]:
        """Scores by plain forwards over right-padded batches in the order given, and the tokens computed."""
        self.use_threads(self.num_threads)
        scores: list[float] = []
        computed = 0
        for start in range(0, len(pairs), batch_size):
            batch = pairs[start : start + batch_size]
            hidden = self._plain(batch)
            computed += hidden.shape[0] * hidden.shape[1]
            rows = (hidden[place, len(pair.ids) - 1 :][:1] for place, pair in enumerate(batch))
            scores += [self.head.reward(row).score for row in rows]
        return scores, computed

    def use_own_threads(self) -> None:
        """As our engine uses them: one for each of several frames, or all for one."""
        self.use_threads(1 if self.engine.num_lanes > 1 else self.num_threads)

    def use_threads(self, num: int) -> None:
        """How many threads an operation may use on the processor; ours run several frames of one thread each."""
        if self.device.type == "cpu":
            torch.set_num_threads(num)

    @torch.inference_mode()
    def _plain(self, batch: Sequence[EncodedPair]) -> Tensor:
        longest = max(len(pair.ids) for pair in batch)
        ids = torch.tensor([[*pair.ids, *[0] * (longest - len(pair.ids))] for pair in batch], device=self.device)
        mask = torch.tensor(
            [[1] * len(pair.ids) + [0] * (longest - len(pair.ids)) for pair in batch], device=self.device
        )
        is_padded = len({len(pair.ids) for pair in batch}) > 1
        output = self.backbone(input_ids=ids, attention_mask=mask if is_padded else None, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden


def build(
    shape: Shape, dtype: torch.dtype, device: str, frame_tokens: int | None, progress: Callable[[str], None]
) -> Bench:
    """A random model, made on the device, and its engine, warm."""
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=MAX_TOKENS + 1,
        initializer_range=1.2 / shape.hidden**0.5,  # keeps scores apart: their spread is about 1
    )
    torch.manual_seed(0)
    with torch.device(device):
        backbone = AutoModel.from_config(config, dtype=dtype).eval()  # type: ignore[no-untyped-call]
    weight = torch.randn(1, shape.hidden, generator=torch.Generator().manual_seed(HEAD_SEED)) / shape.hidden**0.5
    head = LinearHead(weight.to(device))
    num_threads = default_num_threads()
    options = EngineOptions(MAX_TOKENS, frame_tokens or default_frame_tokens(device), num_threads)
    plain = copy.deepcopy(backbone)
    engine = TorchEngine(backbone, head, options)
    engine.warm_up(progress)
    return Bench(engine, FrameRunner(engine, KEPT_TOKENS), num_threads, plain, head, torch.device(device))
