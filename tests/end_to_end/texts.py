"""Random conversations, so that a test may ask for many pairs of mixed lengths."""

from __future__ import annotations

import random

from service.types import Conversation, Message

SENTENCE = "the quick brown fox jumps over a lazy dog while Ünïcode 東京 code() {x: 1} and 3.14159 wait , . ! ?"
WORDS = (*SENTENCE.split(), "\n\n")


def text(rng: random.Random, longest: int) -> str:
    """Up to `longest` words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))


def group(rng: random.Random, num_responses: int, longest: int = 40) -> list[Conversation]:
    """Responses to one prompt of one to three user turns."""
    turns = [Message("user", text(rng, longest))]
    for _ in range(rng.choice([0, 0, 1, 2])):
        turns += [Message("assistant", text(rng, longest)), Message("user", text(rng, longest))]
    return [Conversation(tuple(turns), text(rng, longest)) for _ in range(num_responses)]
