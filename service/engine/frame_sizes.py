"""Admits the row counts that frames are filled up to: only those that give the same bits as the largest.

And whether a frame may be spread over several cores.

Whether a row's result depends on the number of rows is a property of the math library, the processor, the dtype
and the thread count, so it is measured, on the engine's own whole forward, with the same chunks laid at random
places among strangers. Two causes seen on CPUs: matrix kernels chosen by row count (MKL without `STRICT`), and
element-wise loops whose scalar tail, computed by another `exp`, falls into the middle of a row when threads share
the rows unevenly. The ladder below steers clear of the second where it can.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from service.engine.lanes import Lanes
from service.engine.protocol import Progress
from service.errors import EngineFailure
from service.frame import Frame

SMALLEST_ROWS = 64
"""Fewer rows would save little time and meet more kernels: bf16 rows equal each other only from 2 rows up."""

WITNESS_LENGTHS = (3, 11, 37)
"""Lengths of the chunks whose bits are compared; together they fit the smallest frame."""

STRANGER_LENGTHS = (1, 200)
"""Shortest and longest of the chunks that fill the rest."""

HiddenOf = Callable[[Frame, Sequence[int]], Tensor]
"""Hidden states (N, H) of a frame run with the given row counts allowed."""


def frame_ladder(max_frame_tokens: int, num_threads: int, *, is_fine: bool = False) -> tuple[int, ...]:
    """Row counts worth trying: 64, 96, 128, 192, 256, … up to the first that holds `max_frame_tokens`.

    Under load most frames are nearly full, so 7/8 and 15/16 of the largest are among them. Every count is a multiple
    of 32 and of the threads of an operation, so that they share rows evenly.

    Args:
        is_fine: Also every sixteenth of the largest, every thirty-second in its last eighth, and all multiples of 32 up
            to 256: on a processor a row that only fills a frame costs as much as any other, and one more row count
            costs no more than trying it.

    >>> frame_ladder(500, 2)
    (64, 96, 128, 192, 256, 384, 448, 480, 512)
    >>> frame_ladder(1024, 1, is_fine=True)
    (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 928, 960, 992, 1024)
    """
    multiple = math.lcm(SMALLEST_ROWS // 2, num_threads)
    largest = math.ceil(max_frame_tokens / multiple) * multiple
    rungs = {rows for power in range(32) for rows in (SMALLEST_ROWS << power, (SMALLEST_ROWS << power) * 3 // 2)}
    parts = (*range(2, 28, 2), *range(28, 32)) if is_fine else (28, 30)
    rungs |= {largest * part // 32 // multiple * multiple for part in parts}
    if is_fine:
        rungs |= set(range(multiple, 256, multiple))
    return (*sorted(rows for rows in rungs if SMALLEST_ROWS <= rows < largest and rows % multiple == 0), largest)


def admit_frame_sizes(
    ladder: Sequence[int], hidden_of: HiddenOf, vocab_size: int, progress: Progress, num_at_once: int = 1
) -> tuple[int, ...]:
    """The sizes of the ladder whose bits equal the largest one's, ascending; the largest is always among them.

    Args:
        num_at_once: How many frames may be run at the same time.

    Raises:
        EngineFailure: If the largest size does not even agree with itself.
    """
    rng = random.Random(len(ladder))
    witnesses = [_random_ids(rng, length, vocab_size) for length in WITNESS_LENGTHS]
    largest = ladder[-1]

    def bits(size: int, frame: Frame, rows: Sequence[tuple[int, int]]) -> list[Tensor]:
        progress(f"comparing the bits of {size}-row frames with {largest}-row ones")
        hidden = hidden_of(frame, (size,))
        return [hidden[start:stop].clone() for start, stop in rows]

    tries = [(size, *_frame_with(witnesses, size, rng, vocab_size)) for size in (largest, *reversed(ladder))]
    with ThreadPoolExecutor(num_at_once) as executor:
        expected, again, *others = executor.map(bits, *zip(*tries, strict=True))
    if not _equal(again, expected):
        raise EngineFailure(f"two {largest}-row frames gave the same pair different bits on this machine")
    smaller = zip(ladder[:-1], reversed(others), strict=True)
    return (*(size for size, given in smaller if _equal(given, expected)), largest)


def shares_bits(
    frame_sizes: Sequence[int], hidden_of: HiddenOf, lanes: Lanes, vocab_size: int, progress: Progress
) -> bool:
    """Whether frames on all cores get the bits that they get on one: the smallest and the largest, and one between."""
    if lanes.num == 1:
        return False
    rng = random.Random(len(frame_sizes))
    for size in sorted({frame_sizes[0], frame_sizes[len(frame_sizes) // 2], frame_sizes[-1]}):
        progress(f"comparing the bits of {size}-row frames on one core and on {lanes.num}")
        frame, _ = _frame_with(
            [_random_ids(rng, length, vocab_size) for length in WITNESS_LENGTHS], size, rng, vocab_size
        )
        with lanes.apart():
            expected = hidden_of(frame, (size,))
        if not torch.equal(hidden_of(frame, (size,)), expected):
            return False
    return True


def _equal(given: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(given, expected, strict=True))


def _random_ids(rng: random.Random, length: int, vocab_size: int) -> tuple[int, ...]:
    return tuple(rng.randrange(vocab_size) for _ in range(length))


def _frame_with(
    witnesses: Sequence[tuple[int, ...]], size: int, rng: random.Random, vocab_size: int
) -> tuple[Frame, list[tuple[int, int]]]:
    """A frame of at most `size` tokens that holds the witnesses at random places, and their rows."""
    chunks = [(ids, index) for index, ids in enumerate(witnesses)]
    room = size - sum(WITNESS_LENGTHS)
    while room > 0:
        length = min(rng.randint(*STRANGER_LENGTHS), room)
        chunks.append((_random_ids(rng, length, vocab_size), -1))
        room -= length
    rng.shuffle(chunks)
    rows = [(0, 0)] * len(witnesses)
    bounds = [0]
    for ids, index in chunks:
        if index >= 0:
            rows[index] = (bounds[-1], bounds[-1] + len(ids))
        bounds.append(bounds[-1] + len(ids))
    frame = Frame(
        token_ids=tuple(token for ids, _ in chunks for token in ids),
        position_ids=tuple(position for ids, _ in chunks for position in range(len(ids))),
        chunk_bounds=tuple(bounds),
        parents=(-1,) * len(chunks),
        sees_itself=(True,) * len(chunks),
        read_rows=(),
        read_bounds=(0,),
    )
    return frame, rows
