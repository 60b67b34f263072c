"""Converts, loads and scores a checkpoint of Starling-RM-7B's size and layout, and says what memory and time it took.

    python -m benchmarks.load_7b --folder /tmp/starling-7b          # 13.5 GB twice on disk, 14 GB of memory
    python -m benchmarks.load_7b --shape tiny                       # the same in a second

The values are random; names, shapes, dtype and aliases are the published ones: a pickled state dict that holds the
backbone under two prefixes and a vocabulary head, tensors shared between aliases. Each step runs in a process of its
own, whose anonymous memory is sampled; mapped files are not anonymous. Prints one JSON line. Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.numeric_mode import let_threads_sleep, set_deterministic_math

SHAPES: dict[str, dict[str, Any]] = {
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
}
VOCAB_SIZE = {"7b": 32_000, "tiny": 400}
ENTRY = "starling-rm-7b-alpha-last-token"
POOL_VALUES = 1 << 23
"""Random values are drawn once and repeated: 6.7 billion fresh ones would take most of the time."""

LEAST_FREE_BYTES = 1 << 30
"""Below so much free memory a step gives up rather than have the machine choose whom to end."""


def main(arguments: list[str] | None = None) -> None:
    """Writes, converts, loads and scores, and prints what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load_7b", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--folder", type=Path, help="Where to write; by default a temporary folder, removed at the end."
    )
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    args = parser.parse_args(arguments)
    if args.folder is not None:
        _measure(args.folder, args.shape)
        return
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), args.shape)


def _measure(folder: Path, shape: str) -> None:
    published, converted = folder / "published", folder / "converted"
    if not (published / "pytorch_model.bin").is_file():
        _say("writing the published layout")
        _in_a_process(write_published, published, shape)
    _say("converting")
    shutil.rmtree(converted, ignore_errors=True)
    conversion = _in_a_process(convert, published, converted)
    _say("loading and scoring one pair")
    loading = _in_a_process(load_and_score, converted)
    report = {"date": time.strftime("%Y-%m-%d"), "shape": shape, "cpus": os.cpu_count()}
    sys.stdout.write(json.dumps(report | {"convert": conversion, "load": loading}) + "\n")


def write_published(folder: Path, shape: str) -> dict[str, Any]:
    """Writes config.json and the pickled state dict; tensors lie in mapped files, so that memory stays free."""
    import torch
    from transformers import AutoModel, LlamaConfig

    config = LlamaConfig(**SHAPES[shape], vocab_size=VOCAB_SIZE[shape], max_position_embeddings=4096)
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in AutoModel.from_config(config).state_dict().items()}  # type: ignore[no-untyped-call]
    pool = (torch.randn(POOL_VALUES, generator=torch.Generator().manual_seed(0)) / 50).bfloat16()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:

        def mapped(name: str, size: Any) -> torch.Tensor:
            tensor = torch.from_file(f"{scratch}/{name}", shared=True, size=size.numel(), dtype=torch.bfloat16)
            for start in range(0, size.numel(), POOL_VALUES):
                part = tensor[start : start + POOL_VALUES]
                part.copy_(pool[: len(part)])
            return (tensor.add_(1) if size.numel() == size[-1] else tensor).view(size)

        state = {f"transformer.{name}": mapped(name, size) for name, size in shapes.items()}
        state |= {name.replace("transformer.", "model.model."): tensor for name, tensor in state.items()}
        state["model.lm_head.weight"] = mapped("lm_head", torch.Size((VOCAB_SIZE[shape], config.hidden_size)))
        state["v_head.weight"] = pool[: config.hidden_size].clone().view(1, -1)
        torch.save(state, folder / "pytorch_model.bin")
    return {}


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Converts to safetensors as `models add` does."""
    from model_store import catalogue
    from model_store.convert import convert_weights
    from model_store.sources import ModelFiles

    target.mkdir()
    shutil.copyfile(source / "config.json", target / "config.json")
    convert_weights(ModelFiles(source, source, catalogue.find(ENTRY)), target)
    num_bytes = sum(path.stat().st_size for path in target.glob("*.safetensors"))
    return {"published_bytes": (source / "pytorch_model.bin").stat().st_size, "converted_bytes": num_bytes}


def load_and_score(folder: Path) -> dict[str, Any]:
    """Loads in bfloat16 and scores one pair of 48 tokens through the engine."""
    from model_store import catalogue
    from model_store.loader import load_model
    from model_store.sources import ModelFiles
    from service.engine.torch_engine import EngineOptions, TorchEngine
    from service.frame import Frame
    from service.reward_head import build_head

    started = time.perf_counter()
    model = load_model(ModelFiles(folder, folder, catalogue.find(ENTRY)), dtype="bfloat16", device="cpu")
    load_s = time.perf_counter() - started
    weights = [*model.backbone.parameters(), *model.head.values()]
    engine = TorchEngine(model.backbone, build_head(model), EngineOptions(64, 64, num_threads=os.cpu_count() or 1))
    started = time.perf_counter()
    engine.warm_up(_say)
    warm_s = time.perf_counter() - started
    ids = tuple(range(1, 49))
    frame = Frame(ids, tuple(range(48)), (0, 48), (-1,), (True,), (47,), (0, 1), prefixes=((),))
    started = time.perf_counter()
    [reward] = engine.run(frame)
    score_s = time.perf_counter() - started
    return {
        "weight_bytes": sum(tensor.nbytes for tensor in weights),
        "load_s": round(load_s, 1),
        "warm_up_s": round(warm_s, 1),
        "score_s": round(score_s, 2),
        "score": reward.score,
    }


def _in_a_process(step: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Runs a step in a fresh process; its own report, the time it took and its peak of anonymous memory."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_step, args=(step, arguments, sender))
    process.start()
    sender.close()
    try:
        report: dict[str, Any] = receiver.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"{step.__name__} failed, exit status {process.exitcode}") from None
    process.join()
    if weight_bytes := report.get("weight_bytes"):
        report["peak_over_weights"] = round(report["peak_anonymous_bytes"] / weight_bytes, 3)
    return report


def _step(step: Callable[..., dict[str, Any]], arguments: tuple[Any, ...], sender: Any) -> None:
    set_deterministic_math(os.environ)
    let_threads_sleep(os.environ)
    started = time.perf_counter()
    with _peak_memory() as peak:
        report = step(*arguments)
    total_s = round(time.perf_counter() - started, 1)
    sender.send(report | {"total_s": total_s, "peak_anonymous_bytes": peak[0]})


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Samples this process's anonymous memory; ends the process if the machine runs out of memory."""
    peak, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            peak[0] = max(peak[0], _kib("/proc/self/status", "RssAnon") * 1024)
            if _kib("/proc/meminfo", "MemAvailable") * 1024 < LEAST_FREE_BYTES:
                _say("the machine is about to run out of memory: giving up")
                os._exit(3)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield peak
    is_over.set()
    watcher.join()
    peak[0] = max(peak[0], _kib("/proc/self/status", "RssAnon") * 1024)


def _kib(path: str, name: str) -> int:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    main()
