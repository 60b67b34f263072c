"""OpenRLHF: a `reward_func(queries, prompts, labels)` for a file given as `--reward.remote_url FILE.py`.

OpenRLHF needs no adapter: `--reward.remote_url http://HOST:8000/get_reward` works as it is. With a function the
client's retries take the place of OpenRLHF's own (five tries in about five seconds, after which 0.11 leaves the
reward unset), and the key travels in a header. Written against `openrlhf/utils/agent.py` of v0.11.0, which calls the
function in a thread with lists of one, and `openrlhf/utils/remote_rm_utils.py` of v0.8, which sends it to Ray workers
(cloudpickle) and calls it with many; before 0.9 the option was called `--remote_rm_url`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Callable

from reward_client.adapters._policy_text import rewards_of
from reward_client.adapters._shared import client_for, frozen


def openrlhf_reward_func(url: str, **client_options: Any) -> Callable[..., dict[str, Any]]:
    """Returns a plain function `reward_func(queries, prompts, labels, **kwargs)`.

    It returns `rewards`, `scores` (equal: raw scores; dynamic filtering needs a range that fits them) and
    `extra_logs`, each a tensor as long as `queries`.

    Args:
        url: The server's address, without `/get_reward`.
        client_options: As of `Client`.

    Raises:
        RewardServerError: from the function. OpenRLHF 0.11 logs it and leaves the sample without a reward.
    """
    options = frozen(client_options)
    client_for(url, options)  # wrong options raise here

    def reward_func(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        rewards = _as_tensor(rewards_of(client_for(url, options), queries, prompts))
        return {"rewards": rewards, "scores": rewards, "extra_logs": {"raw_reward": rewards}}

    return reward_func


def _as_tensor(values: list[float]) -> Any:
    """Returns a float32 tensor, which holds raw scores exactly; a list where nobody has loaded torch.

    This package does not depend on torch, and a trainer has always loaded it.
    """
    torch = sys.modules.get("torch")
    return values if torch is None else torch.tensor(values, dtype=torch.float32)
