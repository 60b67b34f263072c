"""Rewards of text in the policy's template, by the server's `POST /get_reward`.

For trainers whose reward functions get rendered text instead of messages: the server knows the templates, takes the
text apart and renders it in the reward model's own. Retries are the client's.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from reward_client._client import Client
from reward_client.errors import InvalidPair

MAX_TEXTS = 256
"""In one request, as the client's own default for pairs."""


def rewards_of(client: Client, queries: Sequence[str], prompts: Sequence[str]) -> list[float]:
    """Returns the raw score of each query: prompt and response, with the policy's special tokens kept.

    Raises:
        InvalidPair: if there are not as many prompts as queries.
        RequestRefused: if a text cannot be scored or taken apart; the message says what to set.
        RewardServerError: as `Client.score`.
    """
    if len(queries) != len(prompts):
        raise InvalidPair(f"{len(queries)} queries and {len(prompts)} prompts; there must be equally many")
    rewards: list[float] = []
    for start in range(0, len(queries), MAX_TEXTS):
        part = slice(start, start + MAX_TEXTS)
        call = client._calls.policy_rewards(monotonic(), list(queries[part]), list(prompts[part]))
        scored = client._run_plain(call)
        rewards += scored
    return rewards
