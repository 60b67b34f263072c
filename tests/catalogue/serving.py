"""Loads a catalogue entry from a folder as the service does, and scores conversations with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_store import catalogue
from model_store.families import is_packed
from model_store.loader import load_model
from model_store.sources import ModelFiles
from service.engine.plain_engine import PlainEngine
from service.engine.protocol import Engine
from service.engine.torch_engine import EngineOptions, TorchEngine
from service.reward_head import build_head
from service.scheduling.packing import FrameBuilder
from service.tokenization.encoder import PairEncoder
from service.tokenization.loading import load_encoder
from service.types import Conversation, EncodedPair, Message, Reward, Truncation
from tests.pairs import job


@dataclass(frozen=True)
class ServedEntry:
    """An entry's encoder and engine."""

    encoder: PairEncoder
    engine: Engine

    def encode(self, turns: Sequence[tuple[str, str]]) -> EncodedPair:
        """The conversation whose last turn is the response, truncated as the model's authors do."""
        prompt = tuple(Message(role, text) for role, text in turns[:-1])
        return self.encoder.encode(Conversation(prompt, turns[-1][1]), Truncation.MODEL)

    def score(self, *pairs: EncodedPair, explain: bool = False) -> tuple[Reward, ...]:
        """The rewards of pairs that share one frame."""
        builder = FrameBuilder(self.engine.info().max_frame_tokens)
        for number, pair in enumerate(pairs):
            assert builder.try_add(job(number, pair, explain=explain))
        return self.engine.run(builder.build().frame)


def files_of(folder: Path, entry: str) -> ModelFiles:
    """A folder read by a catalogue entry's manifest."""
    return ModelFiles(folder, folder, catalogue.find(entry))


def serve(folder: Path, entry: str, *, max_tokens: int) -> ServedEntry:
    """Loads and warms everything; pairs have at most `max_tokens`, or what the manifest says if that is less."""
    model = load_model(files_of(folder, entry), dtype="float32", device="cpu")
    manifest = model.manifest
    longest = min(manifest.limits.max_tokens or max_tokens, max_tokens)
    packed = is_packed(manifest.backbone.family)
    chunk_tokens = 512 if packed else None
    vocab_size = int(model.config.vocab_size)
    encoder = load_encoder(folder, manifest, vocab_size=vocab_size, max_tokens=longest, chunk_tokens=chunk_tokens)
    engine = (TorchEngine if packed else PlainEngine)(
        model.backbone, build_head(model), EngineOptions(longest, longest + 1, num_threads=2)
    )
    engine.warm_up(lambda words: None)
    return ServedEntry(encoder, engine)
