"""What stable bits cost, and what fp8 does: the benchmark's engine freed of what keeps its bits, and quantized."""

from __future__ import annotations

import copy
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

from benchmarks.engine_frames import FrameRunner, job_of
from benchmarks.engine_sides import KEPT_TOKENS, Bench
from benchmarks.workloads import short_pairs
from service.engine import varlen
from service.engine.quantized_linear import quantize
from service.engine.torch_engine import TorchEngine
from service.scheduling.packing import FrameBuilder
from service.types import EncodedPair

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

    def idle_ms(self, repeats: int, vocab_size: int) -> dict[str, float]:
        """Milliseconds of a lone short pair in each engine, and in a plain forward; medians, the sides taking turns."""

        def free(pairs: Sequence[EncodedPair]) -> list[float]:
            with freed(self.bench.engine):
                return _timed(self.bench, pairs)

        sides: dict[str, Callable[[Sequence[EncodedPair]], list[float]]] = {
            "frames": lambda pairs: _timed(self.bench, pairs),
            FREE: free,
            FP8: lambda pairs: _timed(self.quantized, pairs),
            "one at a time": lambda pairs: _each(lambda pair: self.bench.one_at_a_time([pair]), pairs),
        }
        rng, times = random.Random(3), {side: list[float]() for side in sides}
        for _ in range(repeats):
            pairs = short_pairs(rng, IDLE_CALLS, IDLE_TOKENS, vocab_size)
            for side, timed in sides.items():
                times[side] += timed(pairs)
        return {side: round(statistics.median(of_side) * 1e3, 3) for side, of_side in times.items()}


def _timed(bench: Bench, pairs: Sequence[EncodedPair]) -> list[float]:
    """Seconds of each pair in a frame of its own, from integers to a float."""
    bench.use_own_threads()

    def run(pair: EncodedPair) -> object:
        builder = FrameBuilder(bench.engine.info().max_frame_tokens)
        builder.try_add(job_of(0, pair))
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
