"""AReaL: a reward function that pickles, for the process pool of its `AsyncRewardWrapper`.

Written against `areal/api/reward_api.py` (2026): `reward_fn(prompt, completions, prompt_ids, completion_ids,
**columns) -> float`, with both texts decoded by the policy's tokenizer. The wrapper waits 15 s, tries three more times,
and then raises what it caught, except that after a `TimeoutError` it gives the reward 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reward_client.adapters._policy_text import rewards_of
from reward_client.adapters._shared import FrozenOptions, client_for, frozen, timeouts_as_unavailable

OPTIONS: Mapping[str, Any] = {"timeout_s": 12.0}
"""Must end before the wrapper's `timeout_seconds`, 15 by default, makes a 0 of it."""


@dataclass(frozen=True)
class ArealReward:
    """Scores one completion; holds nothing but settings, and finds its client in the process that calls it.

    Attributes:
        url: The server's address.
        options: Options of the `Client`.
    """

    url: str
    options: FrozenOptions = ()

    def __call__(
        self, prompt: str, completions: str, prompt_ids: object = None, completion_ids: object = None, **columns: Any
    ) -> float:
        """Returns the raw score.

        Args:
            prompt: Text in the policy's template.
            completions: The completion that follows, as decoded; AReaL's name for it.
            prompt_ids: Of the policy's tokenizer; not used.
            completion_ids: As before.
            columns: Of the dataset; not used.

        Raises:
            RewardServerError: as `Client.score`, but never a `TimeoutError`.
        """
        with timeouts_as_unavailable():
            return rewards_of(client_for(self.url, self.options), [prompt + completions], [prompt])[0]


def areal_reward(url: str, **client_options: Any) -> ArealReward:
    """Returns a reward function for AReaL's workflows, such as `RLVRWorkflow(reward_fn=…)`.

    Args:
        url: The server's address.
        client_options: As of `Client`. Raise `timeout_s`, and the wrapper's `timeout_seconds` above it, if scoring
            may take longer than 12 s, or if a restart of the server is to be waited for.
    """
    reward = ArealReward(url, frozen({**OPTIONS, **client_options}))
    client_for(reward.url, reward.options)  # wrong options raise here
    return reward
