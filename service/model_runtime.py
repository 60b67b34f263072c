"""Brings up one model: files, weights, tokenizer, engine, line, and proof that it scores as it should."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from model_store.families import is_packed
from model_store.guess import default_dtype
from model_store.integrity import check_files, digest_hashes, hash_folder, semantic_digest
from model_store.loader import LoadedModel as Weights
from model_store.loader import load_model
from model_store.manifest import Manifest
from model_store.sources import ModelFiles, resolve
from model_store.words import describe_output, describe_readout
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.engine_thread import EngineThread
from service.dispatch.frame_report import FrameReport
from service.dispatch.score_cache import ScoreCache
from service.engine.advice import dtype_advice
from service.engine.devices import resolve_device
from service.engine.plain_engine import PlainEngine
from service.engine.protocol import Engine, Progress
from service.engine.quantized_linear import quantize
from service.engine.torch_engine import TorchEngine
from service.model_memory import ModelMemory, Promised
from service.observability.events import FrameRun, QueueOpened
from service.observability.observers import Observer
from service.quantized_engine import ParityText, PreparableEngine, QuantizedEngine
from service.reward_head import build_head
from service.scheduling.admission import Admission, QueueLimits
from service.scheduling.batcher import FrameLimits
from service.scheduling.prefix_directory import PrefixDirectory
from service.scoring.parity import bundled_texts
from service.scoring.served_model import GoldenPair, LoadedModel, Parts
from service.settings import Settings
from service.tokenization.encoder import PairEncoder
from service.tokenization.loading import load_encoder
from service.tokenization.pool import TokenizerPool
from service.types import Conversation, EncodedPair, EngineInfo, Fingerprint, Message, ModelCard, ModelId


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """A model's files, read and hashed, and the weights in memory."""

    files: ModelFiles
    digest: str
    weights: Weights
    max_tokens: int

    @property
    def manifest(self) -> Manifest:
        return self.weights.manifest


async def load_served_model(
    reference: str,
    settings: Settings,
    observer: Observer,
    progress: Progress,
    wrap_engine: Callable[[Engine], Engine] = lambda engine: engine,
    promised: Promised | None = None,
) -> LoadedModel:
    """Loads one model and returns it started: golden pairs scored, ready or saying why not.

    Args:
        wrap_engine: May put something between the engine and those who call it, such as injected faults.
        promised: What the models before this one may come to take of the device.

    Raises:
        ModelStoreError: If files or weights are not as they should be.
        SettingsError: If a setting does not fit the model or the machine.
        EngineFailure: If the packed path does not agree with the model's plain forward.
        OutOfMemory: If the device cannot hold the longest pair in any frame.
    """
    device = resolve_device(settings.device)
    on_disk = await asyncio.to_thread(_read, reference, settings, device, progress)
    progress(f"{on_disk.manifest.name}: loading the tokenizer")
    encoder = await asyncio.to_thread(_encoder, on_disk, settings)
    head = build_head(on_disk.weights)
    if device == "cpu":
        await asyncio.to_thread(_advise, on_disk, progress)
    memory = ModelMemory.of(on_disk.weights, on_disk.max_tokens, settings, device)
    engine_class = TorchEngine if is_packed(on_disk.manifest.backbone.family) else PlainEngine
    inner = engine_class(on_disk.weights.backbone, head, memory.engine_options())
    quantized = await asyncio.to_thread(_quantized, inner, on_disk, settings, encoder)
    engine = EngineThread(wrap_engine(quantized or inner), settings.max_forward_s)
    await engine.warm_up(lambda words: progress(f"{on_disk.manifest.name}: {words}"))
    capacity = memory.kept_tokens(promised or Promised())
    budget = memory.budget_bytes(capacity)
    progress(
        f"{on_disk.manifest.name}: will take at most {budget / 2**30:.2f} GiB of memory, {capacity} tokens of prompts "
        "among it, beside what waits in line"
    )
    facts = {"prefix_cache_tokens": str(capacity), "memory_budget_bytes": str(budget)}
    facts |= quantized.parity.describe() if quantized else {}
    card = _card(on_disk, settings, engine.info(), head.description, facts)
    golden = _golden(on_disk.manifest, card.engine.numeric_mode["dtype"], quantized.shifts if quantized else {})
    model = _assemble(card, encoder, engine, PrefixDirectory(capacity), golden, settings, observer)
    progress(f"{on_disk.manifest.name}: scoring the golden pairs")
    await model.start()
    return model


def _read(reference: str, settings: Settings, device: str, progress: Progress) -> _OnDisk:
    """Everything that blocks on the disk; runs on a thread of its own."""
    progress(f"{reference}: looking for its files")
    files = resolve(reference, weights=settings.weights, tokenizer=settings.tokenizer)
    manifest = files.manifest
    progress(f"{manifest.name}: hashing its files")
    side_files = manifest.backbone.side_files
    hashes = hash_folder(files.folder, files.tokenizer_folder, files.adapter, side_files=side_files)
    if settings.weights is None and files.adapter is None:
        check_files(files.folder, manifest, files.tokenizer_folder, hashes=hashes)
    progress(f"{manifest.name}: loading its weights")
    weights = load_model(files, dtype=settings.dtype or default_dtype(manifest, device=device), device=device)
    max_tokens = manifest.limits.max_tokens or int(weights.config.max_position_embeddings)
    return _OnDisk(files, digest_hashes(hashes), weights, max_tokens)


def _advise(on_disk: _OnDisk, progress: Progress) -> None:
    """Says what would be faster, and changes nothing."""
    advice = dtype_advice(on_disk.weights.config, next(on_disk.weights.backbone.parameters()).dtype)
    if advice is not None:
        progress(f"{on_disk.manifest.name}: advice: {advice}")


def _encoder(on_disk: _OnDisk, settings: Settings) -> PairEncoder:
    return load_encoder(
        on_disk.files.tokenizer_folder,
        on_disk.manifest,
        vocab_size=int(on_disk.weights.config.vocab_size),
        max_tokens=on_disk.max_tokens,
        chunk_tokens=settings.chunk_tokens if is_packed(on_disk.manifest.backbone.family) else None,
    )


def _quantized(
    engine: PreparableEngine, on_disk: _OnDisk, settings: Settings, encoder: PairEncoder
) -> QuantizedEngine | None:
    """The engine with weights that are quantized as it warms up, if that is asked for."""
    kind = settings.quantization
    if kind == "none":
        return None
    conversations = list(dict.fromkeys((*_golden_conversations(on_disk.manifest), *bundled_texts())))
    encoded = zip(conversations, encoder.encode_many(conversations), strict=True)
    texts = [ParityText(conversation, pair) for conversation, pair in encoded if isinstance(pair, EncodedPair)]
    return QuantizedEngine(engine, kind, partial(quantize, on_disk.weights.backbone, kind), texts)


def _card(on_disk: _OnDisk, settings: Settings, engine: EngineInfo, head: str, facts: dict[str, str]) -> ModelCard:
    manifest = on_disk.manifest
    return ModelCard(
        model_id=ModelId(manifest.name),
        fingerprint=_fingerprint(on_disk, settings, engine),
        max_tokens=on_disk.max_tokens,
        head=head,
        readout=describe_readout(manifest.readout),
        created_s=int(time.time()),
        engine=engine,
        is_verified=manifest.is_verified,
        details=_details(manifest) | facts,
    )


def _fingerprint(on_disk: _OnDisk, settings: Settings, engine: EngineInfo) -> Fingerprint:
    """A hash over everything that a score may depend on besides the pair."""
    facts = {
        "files": on_disk.digest,
        "semantics": semantic_digest(on_disk.manifest),
        "max_tokens": on_disk.max_tokens,
        "chunk_tokens": settings.chunk_tokens,
        "numeric_mode": dict(sorted(engine.numeric_mode.items())),
    }
    return Fingerprint("sha256:" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest())


def _details(manifest: Manifest) -> dict[str, str]:
    details = {
        "title": manifest.title,
        "licence": manifest.licence,
        "family": manifest.backbone.family,
        "user_specials": manifest.template.user_specials,
        "bos": manifest.template.bos,
        "eos": manifest.template.eos,
        "truncation_side": manifest.limits.truncation_side,
        "output": describe_output(manifest.output),
        "sureness": manifest.guesses[0] if manifest.guesses else "",
        "guesses": "; ".join(manifest.guesses[1:]),
    }
    return {name: words for name, words in (details | manifest.notes).items() if words}


def _assemble(
    card: ModelCard,
    encoder: PairEncoder,
    engine: EngineThread,
    directory: PrefixDirectory,
    golden: list[GoldenPair],
    settings: Settings,
    observer: Observer,
) -> LoadedModel:
    """Puts the parts of a loaded model together and starts its dispatcher."""
    dispatcher = Dispatcher(
        engine,
        FrameLimits(card.engine.max_frame_tokens),
        cache=ScoreCache(settings.score_cache_pairs),
        directory=directory,
        on_frame=_frame_listener(card, observer),
    )
    dispatcher.start()
    parts = Parts(
        pool=TokenizerPool(encoder, settings.tokenizer_threads),
        admission=Admission(QueueLimits(settings.max_queue_tokens, settings.max_queue_pairs)),
        dispatcher=dispatcher,
        engine=engine,
    )
    model = LoadedModel(
        card,
        parts,
        golden,
        default_timeout_s=settings.default_timeout_s,
        park_s=settings.park_s,
    )
    observer.notify(
        QueueOpened(
            card.model_id,
            num_pairs=lambda: dispatcher.num_waiting_pairs,
            num_tokens=lambda: dispatcher.num_waiting_tokens,
            num_parked=lambda: model.num_parked,
            num_kept_tokens=lambda: directory.num_tokens,
            num_evicted_tokens=lambda: directory.num_evicted_tokens,
        )
    )
    return model


def _frame_listener(card: ModelCard, observer: Observer) -> Callable[[FrameReport], None]:
    """Tells the observer of each frame, with the rows it was filled up to."""
    sizes = card.engine.frame_sizes

    def listen(report: FrameReport) -> None:
        num_rows = sizes[bisect_left(sizes, report.num_tokens)] if sizes else report.num_tokens
        observer.notify(
            FrameRun(
                card.model_id, report.num_pairs, report.num_tokens, num_rows, report.compute_s, outcome=report.outcome
            )
        )

    return listen


def _golden(manifest: Manifest, dtype: str, shifts: Mapping[Conversation, float]) -> list[GoldenPair]:
    """The manifest's golden pairs, with what it allows for this dtype; none if it allows nothing for it.

    Quantized scores are held against the recorded ones moved by what quantizing was measured to move them, within the
    same tolerance: the unquantized weights have to agree with the record, and what is served with what was measured.
    """
    tolerance = manifest.golden.tolerance.get(dtype)
    if tolerance is None:
        return []
    return [
        GoldenPair(pair.name, conversation, pair.score + shifts.get(conversation, 0.0), tolerance)
        for pair, conversation in zip(manifest.golden.pairs, _golden_conversations(manifest), strict=True)
    ]


def _golden_conversations(manifest: Manifest) -> list[Conversation]:
    return [
        Conversation(tuple(Message(turn.role, turn.content) for turn in pair.prompt), pair.response)
        for pair in manifest.golden.pairs
    ]
