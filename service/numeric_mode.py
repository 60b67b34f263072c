"""Makes the math library deterministic. Must run before torch is imported; imports nothing heavy itself.

With `MKL_CBWR=<ISA>,STRICT` MKL's fp32 matrix products give each row the same bits whatever the number of rows,
their alignment and the number of threads; without it 23 of 24 scores differed between alone and batched. MKL
reads the variable once, when it is first loaded, so the command line and the test set-up call this first.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from pathlib import Path

CPU_FLAGS_FILE = Path("/proc/cpuinfo")
"""Where Linux lists what the processor can do."""


def set_deterministic_math(environ: MutableMapping[str, str], cpu_flags: str | None = None) -> str:
    """Sets `MKL_CBWR` in `environ` unless the user has set it, and returns its value.

    Args:
        environ: The environment of this process.
        cpu_flags: The processor's feature flags; read from the system if None.

    Raises:
        RuntimeError: If torch is loaded already, so that the setting would come too late.
    """
    if "MKL_CBWR" in environ:
        return environ["MKL_CBWR"]
    if "torch" in sys.modules:
        raise RuntimeError("torch was imported before MKL_CBWR was set; call set_deterministic_math() first")
    flags = _read_cpu_flags() if cpu_flags is None else cpu_flags
    environ["MKL_CBWR"] = "AVX512,STRICT" if "avx512f" in flags.split() else "AVX2,STRICT"
    return environ["MKL_CBWR"]


_SPINS = "1000"
"""Turns, of some ten nanoseconds each, that a thread waits before it sleeps."""


def let_threads_sleep(environ: MutableMapping[str, str]) -> None:
    """Has OpenMP threads soon sleep while they wait, unless the user has set how they wait. No score changes.

    By default they spin. Where something else wants a core too (the tokenizer, another process), the one thread
    spins while the other is off its core: with 5 runnable threads on 2 cores, a chain of small products took 80 ms
    with peaks of 3 s, and 13 ms with peaks of 22 ms when threads sleep; large ones took 1.3 to 1.9 times as long.
    Sleeping at once costs too: with the cores to themselves, frames of a small model came 7 % later than with the few
    turns we give (which cost a chain of small products beside two busy processes 25 %, ten times as many 120 %).
    Libraries read the variables when they are loaded: call this before torch is imported.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & environ.keys():
        environ.update({"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": _SPINS})


def _read_cpu_flags() -> str:
    if not CPU_FLAGS_FILE.exists():
        return ""
    with CPU_FLAGS_FILE.open() as lines:
        return next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
