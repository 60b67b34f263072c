"""Finished rewards by pair, least recently used first to go: a trainer's retry costs nothing.

Safe because a score is a pure function of weights, ids and numeric mode; a cache belongs to one loaded model, so
the key holds the pair alone. Keys are kept as digests: a 2,000-token pair would otherwise keep 16 kB alive.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field

from service.dispatch.ledger import PairKey
from service.types import Reward


@dataclass(slots=True)
class ScoreCache:
    """At most `max_pairs` finished rewards; 0 keeps none."""

    max_pairs: int
    _rewards: OrderedDict[bytes, Reward] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._rewards)

    def get(self, key: PairKey) -> Reward | None:
        """The finished reward of this pair, if it is kept."""
        if not self.max_pairs:
            return None
        digest = _digest(key)
        reward = self._rewards.get(digest)
        if reward is not None:
            self._rewards.move_to_end(digest)
        return reward

    def put(self, key: PairKey, reward: Reward) -> None:
        """Keeps a finished, finite reward."""
        if not self.max_pairs:
            return
        digest = _digest(key)
        self._rewards[digest] = reward
        self._rewards.move_to_end(digest)
        while len(self._rewards) > self.max_pairs:
            self._rewards.popitem(last=False)


def _digest(key: PairKey) -> bytes:
    ids, reads, probe, explain = key
    rest = (*reads, -1, *((probe.token_id, probe.position) if probe else ()), -1, int(explain))
    return hashlib.sha256(array("q", (*rest, *ids)).tobytes()).digest()
