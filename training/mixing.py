"""Part of the way from one model's weights to another's.

A model that was trained on for something new forgets some of what it knew; between its weights and those that it
started from lie models that know nearly all of both (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
2022, arXiv 2109.01903). Knows nothing of losses or data.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["go_back"]


def go_back(model: nn.Module, start: nn.Module, share: float) -> None:
    """Move a model's weights back towards those it started from, in place.

    Args:
        model: What was trained.
        start: What it started from; the same parameters by name and shape.
        share: How much of the way; 0 leaves the model as it is, 1 makes it equal to `start`.

    Raises:
        ValueError: If the two do not have the same parameters.
    """
    mine, theirs = dict(model.named_parameters()), dict(start.named_parameters())
    if {name: weight.shape for name, weight in mine.items()} != {name: weight.shape for name, weight in theirs.items()}:
        raise ValueError("the two models have not the same parameters")
    with torch.no_grad():
        for name, weight in mine.items():
            weight.lerp_(theirs[name], share)
