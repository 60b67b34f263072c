"""Attention of many chunks in one call, where the device has it: each a run of queries over a run of keys.

`torch.nn.attention.varlen.varlen_attn` (FlashAttention on CUDA, fp16 and bf16) takes runs laid end to end, with their
bounds. Its causality is aligned at the end of both runs, so a chunk behind a prompt is a short run of queries over a
longer run of keys. The bits of a run must not depend on what else is in the call, and three things could make them:

* splitting keys among blocks by the longest run: `num_splits=1` turns it off where torch knows the word;
* FlashAttention-2 lays grouped queries out differently, and splits keys, if no run is longer than one query: no call
  says so (`MIN_MAX_QUERIES`);
* both versions of FlashAttention drop a window that no run's keys exceed, and take a kernel without windows, whose
  blocks may be others: where there is a window, calls say that some run does exceed it.

Warm-up compares it with the model's plain forward and measures the bits, as it does for any other path.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

MIN_MAX_QUERIES = 2


class VarlenAttention(Protocol):
    """Causal attention of runs laid end to end, aligned at the end of each."""

    takes_groups: bool
    """Whether keys and values may have fewer heads than queries."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, runs: Runs, *, scaling: float | None, window: int | None
    ) -> Tensor:
        """(N, heads, head_dim) of the queries; what lies behind the last run is undefined.

        Args:
            query: (N, heads, head_dim).
            key, value: (K, key/value heads, head_dim).
            window: How many keys a query sees at most, itself included; None for all.
        """


@dataclass(frozen=True, slots=True)
class Runs:
    """Where runs begin and end: C + 1 int32 bounds each, and the longest of either."""

    query_bounds: Tensor
    key_bounds: Tensor
    max_queries: int
    max_keys: int


class TorchVarlen:
    """`varlen_attn` with what keeps its bits stable, in whichever version of torch is there."""

    def __init__(self, varlen_attn: Any, *, splits_keys: bool = False) -> None:
        """`splits_keys`: let it split keys as it likes, which is faster for few long runs and moves bits."""
        known = inspect.signature(varlen_attn).parameters
        self._attend = varlen_attn
        self.takes_groups = "enable_gqa" in known
        self._more = {"num_splits": 1} if "num_splits" in known and not splits_keys else {}

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, runs: Runs, *, scaling: float | None, window: int | None
    ) -> Tensor:
        """As `VarlenAttention`."""
        more: dict[str, Any] = self._more | ({"enable_gqa": True} if query.shape[1] != key.shape[1] else {})
        attended: Tensor = self._attend(
            query,
            key,
            value,
            runs.query_bounds,
            runs.key_bounds,
            runs.max_queries,
            runs.max_keys if window is None else max(runs.max_keys, window + 1),
            scale=scaling,
            window_size=(-1 if window is None else window - 1, 0),
            **more,
        )
        return attended


def find(*, splits_keys: bool = False) -> VarlenAttention | None:
    """Torch's attention of runs, if this torch has one that takes a scale and a window."""
    try:
        from torch.nn.attention.varlen import varlen_attn  # from torch 2.10
    except ImportError:
        return None
    has_words = {"scale", "window_size"} <= set(inspect.signature(varlen_attn).parameters)
    return TorchVarlen(varlen_attn, splits_keys=splits_keys) if has_words else None
