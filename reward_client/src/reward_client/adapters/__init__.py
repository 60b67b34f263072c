"""Reward functions as trainers call them, and best-of-n for applications.

Each is a thin layer over the clients: what is tried again, what fails and how is theirs. A failure raises; it is
never a number, and never a `TimeoutError` where a trainer would turn that into one.
"""

from reward_client.adapters.areal import ArealReward, areal_reward
from reward_client.adapters.best_of_n import BestOfN, best_of_n, best_of_n_async
from reward_client.adapters.openrlhf import openrlhf_reward_func
from reward_client.adapters.trl import trl_reward, trl_reward_sync
from reward_client.adapters.verl import verl_compute_score

__all__ = [
    "ArealReward",
    "BestOfN",
    "areal_reward",
    "best_of_n",
    "best_of_n_async",
    "openrlhf_reward_func",
    "trl_reward",
    "trl_reward_sync",
    "verl_compute_score",
]
