"""The K-wise preference loss and the accuracy that goes with it, as functions of plain tensors.

Plackett-Luce (Plackett 1975, Luce 1959): a ranking is drawn by picking the best of K candidates with
softmax probabilities of their rewards, then the best of the rest, and so on. Its negative log-likelihood is
the K-wise loss of Zhu, Jordan and Jiao, "Principled RLHF from Pairwise or K-wise Comparisons"
(arXiv 2301.11270), which Starling's reward model was trained with; for K = 2 it is Bradley-Terry.
Both functions depend on differences only: a constant added to a group's rewards changes nothing.
Nothing here knows tokens, models or files.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pairwise_hits", "plackett_luce_nll", "strictly_better_GKK"]


def strictly_better_GKK(tiers_GK: Tensor) -> Tensor:  # noqa: N802 - the dimension suffix names its shape
    """Say which candidate was strictly preferred to which.

    Args:
        tiers_GK: Integers, lower is better, equal means tied.

    Returns:
        Booleans [G, K, K]; entry [g, i, j] is true where i is strictly better than j.
    """
    return tiers_GK.unsqueeze(2) < tiers_GK.unsqueeze(1)


def plackett_luce_nll(rewards_GK: Tensor, tiers_GK: Tensor | None = None) -> Tensor:
    """Average the K-wise loss over groups, each divided by K - 1 (the number of choices made).

    Ties: a candidate competes with itself and with what is strictly worse, never with its equals. Without
    ties this is the Plackett-Luce likelihood exactly; a group of equals alone has loss 0 and no gradient.

    Args:
        rewards_GK: Rewards, columns best to worst unless `tiers_GK` says otherwise.
        tiers_GK: Integers, lower is better, equal means tied; by default the column number.

    Returns:
        A scalar, in nats for each choice.

    Raises:
        ValueError: If there are fewer than two candidates, or the shapes differ.
    """
    if rewards_GK.dim() != 2 or rewards_GK.shape[1] < 2:
        raise ValueError(f"rewards must be [groups, candidates >= 2], got {tuple(rewards_GK.shape)}")
    num_candidates = rewards_GK.shape[1]
    if tiers_GK is None:
        tiers_GK = torch.arange(num_candidates, device=rewards_GK.device).expand_as(rewards_GK)
    if tiers_GK.shape != rewards_GK.shape:
        raise ValueError(f"tiers {tuple(tiers_GK.shape)} do not fit rewards {tuple(rewards_GK.shape)}")
    itself_KK = torch.eye(num_candidates, dtype=torch.bool, device=rewards_GK.device)
    competes_GKK = strictly_better_GKK(tiers_GK) | itself_KK
    # -inf removes a candidate from the sum without a large finite number that big rewards could reach.
    rivals_GKK = rewards_GK.unsqueeze(1).masked_fill(~competes_GKK, float("-inf"))
    losses_GK = torch.logsumexp(rivals_GKK, dim=2) - rewards_GK
    return losses_GK.sum(dim=1).mean() / (num_candidates - 1)


def pairwise_hits(rewards_GK: Tensor, tiers_GK: Tensor) -> tuple[float, int]:
    """Count the strictly ordered pairs that the rewards put the right way round.

    Pairs of one tier are not counted at all; equal rewards for an ordered pair are half a hit.

    Returns:
        Hits (a multiple of one half) and the number of strictly ordered pairs.
    """
    ordered_GKK = strictly_better_GKK(tiers_GK)
    margin_GKK = rewards_GK.unsqueeze(2) - rewards_GK.unsqueeze(1)
    hits = (margin_GKK[ordered_GKK] > 0).sum() + 0.5 * (margin_GKK[ordered_GKK] == 0).sum()
    return float(hits), int(ordered_GKK.sum())
