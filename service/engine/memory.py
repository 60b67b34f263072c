"""How much memory an engine will take, measured by having it do the most it will ever be asked to do."""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Iterator

import torch

from service.frame import Frame, Store

CHUNK_TOKENS = 512
"""Length of the chunks the longest pair is made of here: the server's default grid."""


def peak_bytes(device: str) -> int:
    """The most this process has held so far: resident memory, or what its tensors took of an accelerator."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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
