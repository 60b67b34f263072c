"""Rotary tables: the angles of every position, computed once with the model's own rotary embedding.

Sines computed for a whole frame depend, in the last bit, on where in the frame a row lies (vectorised middle,
scalar tail). Looked up from one table they are a function of the position alone, and cost nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RotaryTable(nn.Module):
    """Stands in for a backbone's `rotary_emb`; (max_positions, head_dim) cosines and sines."""

    def __init__(self, rotary: nn.Module, max_positions: int, like: Tensor) -> None:
        super().__init__()
        positions = torch.arange(max_positions, device=like.device)[None]
        with torch.inference_mode():
            cosines, sines = rotary(like, positions)
        self.cosines = cosines[0].clone()
        self.sines = sines[0].clone()

    def forward(self, hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of each position, each (1, N, head_dim), in the dtype the model computes in."""
        rows = position_ids[0]
        return self.cosines.index_select(0, rows)[None], self.sines.index_select(0, rows)[None]


def install_table(backbone: nn.Module, max_positions: int) -> None:
    """Replaces the backbone's rotary embedding by its table for positions below `max_positions`."""
    like = next(backbone.parameters())[:1]
    backbone.rotary_emb = RotaryTable(backbone.rotary_emb, max_positions, like)  # type: ignore[arg-type]
