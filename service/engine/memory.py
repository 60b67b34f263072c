"""How much memory an engine will take, measured by having it do the most it will ever be asked to do."""

from __future__ import annotations

import gc
import random
import resource
import sys
from collections.abc import Callable, Iterator
from itertools import accumulate

import torch

from service.errors import OutOfMemory
from service.frame import Frame, Store

CHUNK_TOKENS = 512
"""Length of the chunks the longest pair is made of here: the server's default grid."""


def peak_bytes(device: str) -> int:
    """The most this process has held so far: resident memory, or what its tensors took of an accelerator."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def room_bytes(device: str) -> int | None:
    """What an accelerator has left beside the most that this process has held of it; None on the processor.

    As its driver says now: what other processes take counts as taken.
    """
    if not device.startswith("cuda"):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return max(0, free + torch.cuda.memory_reserved(device) - torch.cuda.max_memory_reserved(device))


def passing_bytes(device: str) -> int:
    """What frames take of an accelerator while they run, beyond what stays; 0 on the processor."""
    if not device.startswith("cuda"):
        return 0
    return int(torch.cuda.max_memory_allocated(device)) - int(torch.cuda.memory_allocated(device))


def fits(work: Callable[[], None]) -> bool:
    """Whether the device has the memory for `work`; what a failed try held is free again, and no peak remembers it."""
    try:
        work()
    except (OutOfMemory, torch.OutOfMemoryError):
        pass  # the error holds the tensors of the work, and maybe itself in a cycle: first it must be gone
    else:
        return True
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return False


def longest_pair(max_tokens: int, frame_tokens: int, vocab_size: int) -> Iterator[Frame]:
    """A random pair of `max_tokens` tokens in full frames; each keeps its chunks for the next, under negative slots."""
    rng = random.Random(0)
    chunk = min(CHUNK_TOKENS, frame_tokens)
    lengths = [min(chunk, max_tokens - start) for start in range(0, max_tokens, chunk)]
    per_frame = frame_tokens // chunk
    for first in range(0, len(lengths), per_frame):
        own = lengths[first : first + per_frame]
        begin = sum(lengths[:first])
        bounds = [sum(own[:count]) for count in range(len(own) + 1)]
        yield Frame(
            token_ids=tuple(rng.randrange(vocab_size) for _ in range(bounds[-1])),
            position_ids=tuple(range(begin, begin + bounds[-1])),
            chunk_bounds=tuple(bounds),
            parents=tuple(range(-1, len(own) - 1)),
            sees_itself=(True,) * len(own),
            read_rows=(),
            read_bounds=(0,),
            prefixes=(tuple(range(-1, -first - 1, -1)), *[()] * (len(own) - 1)),
            stores=tuple(Store(chunk, -1 - first - chunk) for chunk in range(len(own))),
        )


def full_frame_behind(max_tokens: int, frame_tokens: int, vocab_size: int) -> Frame:
    """A full frame of random chunks, each as far behind chunks of `longest_pair` as `max_tokens` allows."""
    rng = random.Random(1)
    chunk = min(CHUNK_TOKENS, frame_tokens, max_tokens)
    num_before = max_tokens // chunk - 1
    lengths = [min(chunk, frame_tokens - start) for start in range(0, frame_tokens, chunk)]
    begin = num_before * chunk
    return Frame(
        token_ids=tuple(rng.randrange(vocab_size) for _ in range(frame_tokens)),
        position_ids=tuple(position for length in lengths for position in range(begin, begin + length)),
        chunk_bounds=(0, *accumulate(lengths)),
        parents=(-1,) * len(lengths),
        sees_itself=(True,) * len(lengths),
        read_rows=(),
        read_bounds=(0,),
        prefixes=(tuple(range(-1, -num_before - 1, -1)),) * len(lengths),
    )
