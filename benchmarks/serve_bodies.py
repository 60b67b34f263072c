"""What `benchmarks.serve` sends: bodies of `/v1/score`, written before any clock runs.

A workload's lengths are the same in every repeat, its words are not, so that no cache of an earlier repeat answers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS

Pair = dict[str, Any]
"""A pair as `/v1/score` takes it."""

WORDS = "the of and to in is you that it he was for on are as with his they at be this from".split(" ")  # noqa: SIM905
"""Common words, about a token each in most vocabularies."""

LENGTHS_SEED = 0

DEADLINE_MS = 3_600_000
"""An hour: a thousand pairs in one request may take longer than the server's own bound of 100 s."""


def pairs_of(name: str, num_pairs: int, seed: int) -> list[Pair]:
    """Pairs of a workload of `benchmarks.workloads`, a random word for each of its tokens."""
    rng = random.Random(seed)
    made: list[Pair] = []
    for group in WORKLOADS[name](random.Random(LENGTHS_SEED), num_pairs):
        prompt = _words(rng, group.prompt)
        made += ({"prompt": prompt, "response": _words(rng, length)} for length in group.responses)
    return made


def short_pair(seed: int) -> Pair:
    """Two dozen words."""
    rng = random.Random(seed)
    return {"prompt": _words(rng, 8), "response": _words(rng, 16)}


def conversations(path: Path, num_pairs: int, seed: int) -> list[Pair]:
    """Real conversations, ranked answers to one prompt (Nectar's lines); their first turn begins with the seed."""
    from training.nectar import read_rankings

    made: list[Pair] = []
    for ranking in read_rankings(path):
        turns = [{"role": turn.role, "content": turn.content} for turn in ranking.messages]
        turns[0]["content"] = f"{seed} {turns[0]['content']}"
        made += ({"prompt": turns, "response": answer} for answer in ranking.answers)
    return made[:num_pairs]


def source_of(name: str, maybe_conversations: Path | None) -> Callable[[int, int], list[Pair]]:
    """Makes (number of pairs, seed) into pairs."""
    if maybe_conversations is not None:
        return partial(conversations, maybe_conversations)
    return partial(pairs_of, name)


def bodies(pairs: Sequence[Pair], pairs_a_call: int) -> list[bytes]:
    """Bodies of so many pairs each; what is too long loses its oldest words."""
    calls = (pairs[start : start + pairs_a_call] for start in range(0, len(pairs), pairs_a_call))
    return [
        json.dumps({"pairs": call, "truncation": "prompt_left", "deadline_ms": DEADLINE_MS}).encode() for call in calls
    ]


def _words(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choices(WORDS, k=num_words))
