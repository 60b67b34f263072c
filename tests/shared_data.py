"""The reference data that lies beside the project on its own machines; tests that want it skip loudly elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.types import Conversation
from training.nectar import read_rankings

SHARED = Path(__file__).parents[2] / "shared"


def shared_file(*parts: str) -> Path:
    """A file of ../shared, or a skip that says which one is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}, which lies beside the project on its own machines only")
    return path


def nectar_pairs() -> list[Conversation]:
    """The 812 pairs of the Nectar sample: 116 prompts with 7 answers each."""
    path = shared_file("data", "nectar_dev.jsonl")
    return [Conversation(ranking.messages, answer) for ranking in read_rankings(path) for answer in ranking.answers]
