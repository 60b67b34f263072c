"""The lengths that benchmarks are made of, and the pairs of them, as integers. Standard library only.

Lengths in tokens, from a fixed seed: equal workloads on every machine and every side of a comparison.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from service.types import EncodedPair

CHUNK_TOKENS = 256
"""Grid on which long prompts and responses are cut."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """A prompt and the responses to it, in tokens."""

    prompt: int
    responses: tuple[int, ...]


def _log_normal(rng: random.Random, median: float, sigma: float, shortest: int, longest: int) -> int:
    return max(shortest, min(longest, round(rng.lognormvariate(math.log(median), sigma))))


def rlhf_group(rng: random.Random, num_pairs: int) -> list[Lengths]:
    """Groups of 8 responses (median 150) to a prompt of about 300."""
    return [
        Lengths(rng.randint(250, 350), tuple(_log_normal(rng, 150, 0.6, 8, 512) for _ in range(8)))
        for _ in range(max(1, num_pairs // 8))
    ]


def chat(rng: random.Random, num_pairs: int) -> list[Lengths]:
    """Distinct pairs, median 210 tokens together, at most about 1,500: nothing is shared."""
    totals = (_log_normal(rng, 210, 0.8, 16, 1_497) for _ in range(num_pairs))
    return [Lengths(total // 3, (total - total // 3,)) for total in totals]


def rerank(rng: random.Random, num_pairs: int) -> list[Lengths]:
    """Groups of 16 candidates of about 100 to a text of about 1,000."""
    return [
        Lengths(rng.randint(950, 1_050), tuple(rng.randint(80, 120) for _ in range(16)))
        for _ in range(max(1, num_pairs // 16))
    ]


WORKLOADS: dict[str, Callable[[random.Random, int], list[Lengths]]] = {
    "rlhf-group": rlhf_group,
    "chat": chat,
    "rerank": rerank,
}


def pairs_of(name: str, num_pairs: int, vocab_size: int, seed: int = 0) -> list[EncodedPair]:
    """Random ids in the lengths of a workload, cut where the response begins and on the grid from there."""
    rng = random.Random(seed)
    groups = WORKLOADS[name](rng, num_pairs)
    return [pair for group in groups for pair in _group(rng, group, vocab_size)]


def longest_and_short(vocab_size: int, max_tokens: int = 2048, num_short: int = 1_000) -> list[EncodedPair]:
    """One pair of `max_tokens` tokens and many of 16: what needs most memory at once."""
    rng = random.Random(0)
    longest = _pair(_ids(rng, max_tokens - 16, vocab_size), _ids(rng, 16, vocab_size))
    return [longest, *short_pairs(rng, num_short, 16, vocab_size)]


def short_pairs(rng: random.Random, num_pairs: int, num_tokens: int, vocab_size: int) -> list[EncodedPair]:
    """Pairs of `num_tokens` tokens, half of them the response's."""
    half = num_tokens // 2
    return [_pair(_ids(rng, half, vocab_size), _ids(rng, num_tokens - half, vocab_size)) for _ in range(num_pairs)]


def _group(rng: random.Random, lengths: Lengths, vocab_size: int) -> list[EncodedPair]:
    prompt = _ids(rng, lengths.prompt, vocab_size)
    return [_pair(prompt, _ids(rng, length, vocab_size)) for length in lengths.responses]


def _ids(rng: random.Random, length: int, vocab_size: int) -> tuple[int, ...]:
    return tuple(rng.randrange(vocab_size) for _ in range(length))


def _pair(prompt: tuple[int, ...], response: tuple[int, ...]) -> EncodedPair:
    ids = prompt + response
    cuts = (*range(0, len(prompt), CHUNK_TOKENS), *range(len(prompt), len(ids), CHUNK_TOKENS))
    return EncodedPair(ids, cuts, (len(ids) - 1,), None, len(prompt), len(response))
