"""Encoded pairs for tests, made from integers alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

from service.scheduling.jobs import Job, JobId, group_of
from service.types import EncodedPair, Priority, Probe


def encoded(
    prompt: Sequence[int], response: Sequence[int], grid: int = 1000, probe: Probe | None = None
) -> EncodedPair:
    """A pair cut where its response begins and on a grid from there and from the start, read at its end."""
    ids = (*prompt, *response)
    starts = {*range(0, len(prompt), grid), *range(len(prompt), len(ids), grid)}
    reads = (len(ids),) if probe else (len(ids) - 1,)
    return EncodedPair(ids, tuple(sorted(starts)), reads, probe, len(prompt), len(response))


def random_group(rng: random.Random, num_responses: int, vocab_size: int = 500, longest: int = 60) -> list[EncodedPair]:
    """Responses of random lengths to one random prompt."""
    prompt = [rng.randrange(vocab_size) for _ in range(rng.randint(1, longest))]
    responses = ([rng.randrange(vocab_size) for _ in range(rng.randint(1, longest))] for _ in range(num_responses))
    return [encoded(prompt, response, grid=16) for response in responses]


def job(
    number: int,
    pair: EncodedPair,
    priority: Priority = Priority.INTERACTIVE,
    arrived_s: float = 0.0,
    deadline_s: float = 1e9,
    explain: bool = False,
) -> Job:
    """A job around a pair, with defaults that never matter."""
    return Job(JobId(number), pair, priority, arrived_s, deadline_s, group_of(pair), explain)
