"""Rotary tables: the angles of every position, computed once with the model's own rotary embedding.

Sines computed for a whole frame depend, in the last bit, on where in the frame a row lies (vectorised middle,
scalar tail). Looked up from one table they are a function of the position alone, and cost nothing.
Backbones with several kinds of layers (Gemma-3) have a table for each kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class RotaryTable(nn.Module):
    """Stands in for a backbone's `rotary_emb`: for each kind of layer cosines and sines, or one complex table.

    Cosines and sines are of (max_positions, head_dim); the complex one, of (max_positions, head_dim / 2), holds
    cos + i sin of each pair's angle.
    """

    def __init__(
        self,
        rotary: nn.Module,
        layer_types: Sequence[str | None],
        max_positions: int,
        like: Tensor,
        *,
        as_complex: bool,
    ) -> None:
        super().__init__()
        positions = torch.arange(max_positions, device=like.device)[None]
        self.tables: dict[str | None, tuple[Tensor, ...]] = {}
        with torch.inference_mode():
            for layer_type in layer_types:
                kind = () if layer_type is None else (layer_type,)
                cosines, sines = (table[0].clone() for table in rotary(like, positions, *kind))
                half = cosines.shape[1] // 2
                complex_table = (torch.complex(cosines[:, :half], sines[:, :half]),) if as_complex else None
                self.tables[layer_type] = complex_table or (cosines, sines)

    def forward(self, hidden: Tensor, position_ids: Tensor, layer_type: str | None = None) -> tuple[Tensor, ...]:
        """The tables' rows for each position, (1, N, …) each, in the dtype the model computes in."""
        rows = position_ids[0]
        return tuple(table.index_select(0, rows)[None] for table in self.tables[layer_type])


def install_table(backbone: nn.Module, max_positions: int, *, as_complex: bool = False) -> None:
    """Replaces the backbone's rotary embedding by its table for positions below `max_positions`."""
    like = next(backbone.parameters())[:1]
    rotary: Any = backbone.rotary_emb
    # What Gemma-3's forward asks for; the other families' embeddings know one kind of layer and take no such argument.
    layer_types = sorted(rotary.rope_type) if isinstance(rotary.rope_type, dict) else [None]
    backbone.rotary_emb = RotaryTable(rotary, layer_types, max_positions, like, as_complex=as_complex)
