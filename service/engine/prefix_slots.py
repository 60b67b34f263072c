"""Keys and values of kept prompt chunks, by slot: what lets a later frame continue a chunk without computing it.

What is kept is a copy of the very numbers the chunk's own frame attended to, rotary applied, so that a pair reads
the same bits cold, warm, and recomputed after an eviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from service.engine.protocol import PrefixLost


def kept_bytes_per_token(backbone: nn.Module) -> int:
    """Bytes that one kept token takes: keys and values of every layer."""
    config: Any = backbone.config
    num_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    itemsize = next(backbone.parameters()).element_size()
    return int(2 * config.num_hidden_layers * num_heads * head_dim * itemsize)


@dataclass(slots=True)
class _Kept:
    """One slot: (L, 2, key/value heads, T, head_dim) keys and values of all layers, and (T, H) hidden states."""

    keys_values: Tensor | None = None
    hidden_TH: Tensor | None = None


@dataclass(slots=True)
class PrefixSlots:
    """The kept chunks of one engine. Used by its thread alone; what to keep and drop is decided elsewhere."""

    num_layers: int
    _kept: dict[int, _Kept] = field(default_factory=dict)
    _lengths: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Bytes held."""
        tensors = (tensor for kept in self._kept.values() for tensor in (kept.keys_values, kept.hidden_TH))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)

    def open(self, slot: int, num_tokens: int) -> None:
        """Announces a chunk that the coming forward will store layer by layer; what the slot holds stays readable."""
        self._kept.setdefault(slot, _Kept())
        self._lengths[slot] = num_tokens

    def drop(self, slots: Iterable[int]) -> None:
        """Frees slots; one that holds nothing is no error, since its frame may have failed."""
        for slot in slots:
            self._kept.pop(slot, None)
            self._lengths.pop(slot, None)

    def require(self, slots: Iterable[int]) -> None:
        """Raises if a slot holds nothing.

        Raises:
            PrefixLost: With the slot.
        """
        for slot in slots:
            if slot not in self._kept:
                raise PrefixLost(f"slot {slot} holds nothing")

    def num_tokens(self, slot: int) -> int:
        """Tokens of a kept chunk."""
        return self._lengths[slot]

    def store(self, slot: int, layer: int, key: Tensor, value: Tensor) -> None:
        """Copies one layer's keys and values of a chunk, each (1, key/value heads, T, head_dim)."""
        kept = self._kept[slot]
        if kept.keys_values is None:
            kept.keys_values = key.new_empty(self.num_layers, 2, *key.shape[1:])
        kept.keys_values[layer, 0] = key[0]
        kept.keys_values[layer, 1] = value[0]

    def store_hidden(self, slot: int, hidden_TH: Tensor) -> None:
        """Copies the last hidden states of a chunk."""
        self._kept[slot].hidden_TH = hidden_TH.clone()

    def read(self, slot: int, layer: int, which: int) -> Tensor:
        """Keys (`which` 0) or values (1) of a kept chunk at a layer, (1, key/value heads, T, head_dim)."""
        keys_values = self._kept[slot].keys_values
        assert keys_values is not None, f"slot {slot} was announced and never stored"
        return keys_values[layer, which][None]

    def hidden(self, slots: Sequence[int], like: Tensor) -> Tensor:
        """Kept hidden states of chunks, laid end to end; (rows, H), maybe none."""
        parts = [hidden for slot in slots if (hidden := self._kept[slot].hidden_TH) is not None]
        return torch.cat(parts) if parts else like[:0]
