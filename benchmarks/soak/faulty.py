"""`reward-server serve` with an engine that misbehaves on purpose: `python -m benchmarks.soak.faulty [FLAGS of serve]`.

A frame that holds a run of eight of a trigger's token fails as the trigger says; `SOAK_SLOW_S` delays every frame.
Everything else (settings, supervisor, routes, model) is the product's own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from service.numeric_mode import set_deterministic_math

set_deterministic_math(os.environ)

from service.api.runtime import Runtime  # noqa: E402  # torch must not be imported before the line above
from service.cli.serving import run_server  # noqa: E402
from service.engine.protocol import Compute, Engine, Progress  # noqa: E402
from service.errors import OutOfMemory  # noqa: E402
from service.frame import Frame  # noqa: E402
from service.observability.observers import Observer  # noqa: E402
from service.settings import Settings  # noqa: E402
from service.types import EngineInfo, Reward  # noqa: E402

RUN: Final = 8
"""How often a trigger's token stands in a row; no text does that."""

TRIGGERS: Final = {"too_large": 301, "out_of_memory": 302, "nan": 303, "raise": 304, "hang": 305, "die": 306}
"""Token ids that make a frame fail. `too_large` fits only in frames of one pair; `die` ends the engine's thread."""


class FaultyEngine:
    """An engine in front of the real one."""

    def __init__(self, inner: Engine, slow_s: float) -> None:
        self._inner = inner
        self._slow_s = slow_s

    def info(self) -> EngineInfo:
        """The real engine's."""
        return self._inner.info()

    def warm_up(self, progress: Progress) -> None:
        """The real engine's."""
        self._inner.warm_up(progress)

    @property
    def num_lanes(self) -> int:
        """The real engine's."""
        return self._inner.num_lanes

    def begin(self, frame: Frame) -> Compute:
        """Takes a frame in that may fail."""
        return partial(self._compute, frame, self._inner.begin(frame))

    def run(self, frame: Frame) -> tuple[Reward, ...]:
        """As the protocol says."""
        return self.begin(frame)()

    def _compute(self, frame: Frame, compute: Compute) -> tuple[Reward, ...]:
        """Fails if the frame holds a trigger, else computes it."""
        if self._slow_s:
            threading.Event().wait(self._slow_s)
        fault = next((name for name, token in TRIGGERS.items() if _holds(frame.token_ids, token)), "")
        match fault:
            case "too_large" if frame.num_pairs > 1:
                raise MemoryError
            case "out_of_memory":
                raise OutOfMemory("injected: no memory for this frame")
            case "raise":
                raise RuntimeError("injected: a forward pass that raises")
            case "hang":
                threading.Event().wait()
            case "die":
                raise SystemExit("injected: the end of the engine thread")
        rewards = compute()
        return tuple(Reward(float("nan")) for _ in rewards) if fault == "nan" else rewards

    def close(self) -> None:
        """The real engine's."""
        self._inner.close()


def trigger_ids(name: str) -> list[int]:
    """A prompt, as ids, that makes its frame fail."""
    return [TRIGGERS[name]] * RUN


def _holds(ids: Sequence[int], token: int) -> bool:
    count = 0
    for value in ids:
        count = count + 1 if value == token else 0
        if count == RUN:
            return True
    return False


def main() -> int:
    """Serves with faults."""
    import click

    from service.cli.settings_flags import settings_flags
    from service.settings_loading import load_settings

    slow_s = float(os.environ.get("SOAK_SLOW_S", "0"))

    def build(settings: Settings, observer: Observer, progress: Progress) -> AbstractAsyncContextManager[Runtime]:
        from service.runtime import build_runtime  # in the worker, after the fork: it imports torch

        return build_runtime(settings, observer, progress, lambda engine: FaultyEngine(engine, slow_s))

    @click.command()
    @settings_flags()
    def serve(**flags: object) -> None:
        sys.exit(run_server(load_settings(os.environ, flags), build))

    serve(standalone_mode=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
