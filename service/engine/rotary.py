"""Rotary tables: the angles of every position, computed once with the model's own rotary embedding.

Sines computed for a whole frame depend, in the last bit, on where in the frame a row lies (vectorised middle,
scalar tail). Looked up from one table they are a function of the position alone, and cost nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RotaryTable(nn.Module):
    """Stands in for a backbone's `rotary_emb`; cosines and sines of (max_positions, head_dim), or one complex table.

    The complex one, (max_positions, head_dim / 2), holds cos + i sin of each pair's angle.
    """

    def __init__(self, rotary: nn.Module, max_positions: int, like: Tensor, *, as_complex: bool) -> None:
        super().__init__()
        positions = torch.arange(max_positions, device=like.device)[None]
        with torch.inference_mode():
            cosines, sines = (table[0].clone() for table in rotary(like, positions))
        half = cosines.shape[1] // 2
        self.tables = (torch.complex(cosines[:, :half], sines[:, :half]),) if as_complex else (cosines, sines)

    def forward(self, hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, ...]:
        """The tables' rows for each position, (1, N, …) each."""
        rows = position_ids[0]
        return tuple(table.index_select(0, rows)[None] for table in self.tables)


def install_table(backbone: nn.Module, max_positions: int, *, as_complex: bool = False) -> None:
    """Replaces the backbone's rotary embedding by its table for positions below `max_positions`."""
    like = next(backbone.parameters())[:1]
    backbone.rotary_emb = RotaryTable(backbone.rotary_emb, max_positions, like, as_complex=as_complex)  # type: ignore[arg-type]
