"""Keys and values of kept prompt chunks, by slot: what lets a later frame continue a chunk without computing it.

What is kept is a copy of the very numbers the chunk's own frame attended to, rotary applied, so that a pair reads
the same bits cold, warm, and recomputed after an eviction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
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


@dataclass(eq=False, slots=True)
class _Kept:
    """One slot: (L, 2, key/value heads, T, head_dim) keys and values of all layers, and (T, H) hidden states.

    Attributes:
        num_rows: Rows of the frame that computes them.
        num_layers: Layers whose keys and values are there; while a forward computes them, it grows one by one.
    """

    num_tokens: int
    num_rows: int
    keys_values: Tensor | None = None
    hidden_TH: Tensor | None = None
    num_layers: int = 0
    is_dropped: bool = False


@dataclass(slots=True)
class PrefixSlots:
    """The kept chunks of one engine; what to keep and drop is decided elsewhere. Usable from several threads.

    A frame may read what another, begun before it, is still computing: it begins when that is far enough
    (`wait_to_follow`), and then still waits for each layer if need be.

    Attributes:
        while_waiting: What a thread that waits stays inside.
    """

    num_layers: int
    while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    _kept: dict[int, _Kept] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Bytes held."""
        tensors = (tensor for kept in self._kept.values() for tensor in (kept.keys_values, kept.hidden_TH))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)

    def open(self, slot: int, num_tokens: int, num_rows: int) -> None:
        """Announces a chunk that a coming forward will store layer by layer; what the slot holds stays readable.

        Args:
            num_rows: Of the whole forward.
        """
        self._kept.setdefault(slot, _Kept(num_tokens, num_rows))

    def drop(self, slots: Iterable[int]) -> None:
        """Frees slots; one that holds nothing is no error, since its frame may have failed."""
        with self._changed:
            for slot in slots:
                kept = self._kept.pop(slot, None)
                if kept is not None:
                    kept.is_dropped = True
            self._changed.notify_all()

    def require(self, slots: Iterable[int]) -> None:
        """Raises if a slot neither holds anything nor is announced.

        Raises:
            PrefixLost: With the slot.
        """
        for slot in slots:
            self._slot(slot)

    def num_tokens(self, slot: int) -> int:
        """Tokens of a kept chunk."""
        return self._slot(slot).num_tokens

    def store(self, slot: int, layer: int, key: Tensor, value: Tensor) -> None:
        """Copies one layer's keys and values of a chunk, each (1, key/value heads, T, head_dim)."""
        kept = self._slot(slot)
        with self._changed:  # two frames may compute the same chunk
            if kept.keys_values is None:
                kept.keys_values = key.new_empty(self.num_layers, 2, *key.shape[1:])
        kept.keys_values[layer, 0] = key[0]
        kept.keys_values[layer, 1] = value[0]
        with self._changed:
            kept.num_layers = max(kept.num_layers, layer + 1)
            self._changed.notify_all()

    def store_hidden(self, slot: int, hidden_TH: Tensor) -> None:
        """Copies the last hidden states of a chunk."""
        kept = self._slot(slot)
        with self._changed:
            kept.hidden_TH = hidden_TH.clone()
            self._changed.notify_all()

    def wait_to_follow(self, slots: Iterable[int], num_rows: int) -> None:
        """Returns once a forward of `num_rows` rows can begin without having to wait for these slots in every layer.

        A layer takes time by its rows, so a forward that reads what a longer one computes begins as much later; until
        then the longer one has its core as well.

        Raises:
            PrefixLost: As `wait_for`.
        """
        for slot in slots:
            kept = self._slot(slot)
            num_ahead = self.num_layers - self.num_layers * num_rows // max(num_rows, kept.num_rows)
            self._wait_for_layers(slot, kept, num_ahead)

    def wait_for(self, slots: Iterable[int], layer: int) -> None:
        """Returns once the keys and values of a layer are there.

        Raises:
            PrefixLost: If a slot was dropped, or the frame that was to store it failed.
        """
        for slot in slots:
            self._wait_for_layers(slot, self._slot(slot), layer + 1)

    def read(self, slot: int, layer: int, which: int) -> Tensor:
        """Keys (`which` 0) or values (1) of a kept chunk at a layer, (1, key/value heads, T, head_dim)."""
        keys_values = self._slot(slot).keys_values
        assert keys_values is not None, f"slot {slot} was announced and never stored"
        return keys_values[layer, which][None]

    def hidden(self, slots: Sequence[int], like: Tensor) -> Tensor:
        """Kept hidden states of chunks, laid end to end; (rows, H), maybe none."""
        parts = [self._hidden(slot) for slot in slots]
        return torch.cat(parts) if parts else like[:0]

    def _hidden(self, slot: int) -> Tensor:
        kept = self._slot(slot)
        self._wait(slot, kept, lambda: kept.hidden_TH is not None)
        assert kept.hidden_TH is not None
        return kept.hidden_TH

    def _slot(self, slot: int) -> _Kept:
        kept = self._kept.get(slot)
        if kept is None:
            raise PrefixLost(f"slot {slot} holds nothing")
        return kept

    def _wait_for_layers(self, slot: int, kept: _Kept, num_layers: int) -> None:
        self._wait(slot, kept, lambda: kept.num_layers >= num_layers)

    def _wait(self, slot: int, kept: _Kept, is_there: Callable[[], bool]) -> None:
        if is_there():
            return
        with self.while_waiting(), self._changed:
            self._changed.wait_for(lambda: is_there() or kept.is_dropped)
        if not is_there():
            raise PrefixLost(f"slot {slot} was dropped before it was stored")
