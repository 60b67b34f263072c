"""What stable bits cost, and what fp8 does: the benchmark's engine freed of what keeps its bits, and quantized."""

from __future__ import annotations

import copy
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from benchmarks.engine_frames import FrameRunner
from benchmarks.engine_sides import KEPT_TOKENS, Bench
from service.engine import varlen
from service.engine.quantized_linear import quantize
from service.engine.torch_engine import TorchEngine
from service.scheduling.jobs import Job, JobId, group_of
from service.scheduling.packing import FrameBuilder
from service.types import EncodedPair, Priority

FREE = "frames, free"
FP8 = "frames, fp8"
IDLE_TOKENS = 24
IDLE_CALLS = 30

Scored = tuple[list[float], int]


@contextmanager
def freed(engine: TorchEngine) -> Iterator[None]:
    """The engine without what keeps its bits: no row fills a frame up, and kernels split keys as they like."""
    sizes, shortcuts = engine._frame_sizes, engine._shortcuts
    engine._frame_sizes = cast("tuple[int, ...]", range(1, sizes[-1] + 1))
    if shortcuts.varlen is not None:
        engine._shortcuts = replace(shortcuts, varlen=varlen.find(splits_keys=True))
    try:
        yield
    finally:
        engine._frame_sizes, engine._shortcuts = sizes, shortcuts


@dataclass(frozen=True, slots=True)
class Costs:
    """The further sides."""

    bench: Bench
    quantized: Bench

    @classmethod
    def of(cls, bench: Bench, progress: Callable[[str], None]) -> Costs:
        """Makes a copy of the weights in fp8 and warms its engine up."""
        backbone = copy.deepcopy(bench.backbone)
        quantize(backbone, "fp8")
        engine = TorchEngine(backbone, bench.head, bench.engine._options)
        engine.warm_up(progress)
        return cls(bench, replace(bench, engine=engine, runner=FrameRunner(engine, KEPT_TOKENS)))

    def sides(self, pairs: Sequence[EncodedPair]) -> dict[str, Callable[[], Scored]]:
        """What each computes of a workload."""

        def free() -> Scored:
            with freed(self.bench.engine):
                return self.bench.frames(pairs)

        return {FREE: free, FP8: lambda: self.quantized.frames(pairs)}

    def idle_ms(self, repeats: int, vocab_size: int) -> dict[str, Any]:
        """Milliseconds of a lone short pair in each engine, and in a plain forward; medians, the sides taking turns."""
        rng = random.Random(3)
        times: dict[str, list[float]] = {}
        for _ in range(repeats):
            pairs = [_short_pair(rng, vocab_size) for _ in range(IDLE_CALLS)]
            times.setdefault("frames", []).extend(_timed(self.bench, pairs))
            with freed(self.bench.engine):
                times.setdefault(FREE, []).extend(_timed(self.bench, pairs))
            times.setdefault(FP8, []).extend(_timed(self.quantized, pairs))
            times.setdefault("one at a time", []).extend(_each(lambda pair: self.bench.one_at_a_time([pair]), pairs))
        return {side: round(statistics.median(of_side) * 1e3, 3) for side, of_side in times.items()}


def _short_pair(rng: random.Random, vocab_size: int) -> EncodedPair:
    ids = tuple(rng.randrange(vocab_size) for _ in range(IDLE_TOKENS))
    half = IDLE_TOKENS // 2
    return EncodedPair(ids, (0, half), (IDLE_TOKENS - 1,), prompt_tokens=half, response_tokens=IDLE_TOKENS - half)


def _timed(bench: Bench, pairs: Sequence[EncodedPair]) -> list[float]:
    """Seconds of each pair in a frame of its own, from integers to a float."""
    bench.use_own_threads()

    def run(pair: EncodedPair) -> object:
        builder = FrameBuilder(bench.engine.info().max_frame_tokens)
        builder.try_add(Job(JobId(0), pair, Priority.INTERACTIVE, 0.0, 1e9, group_of(pair)))
        return bench.engine.run(builder.build().frame)

    return _each(run, pairs)


def _each(run: Callable[[EncodedPair], object], pairs: Sequence[EncodedPair]) -> list[float]:
    """Seconds of each, the first left out: it may compile."""
    times = []
    for pair in pairs:
        started = time.perf_counter()
        run(pair)
        times.append(time.perf_counter() - started)
    return times[1:]
