"""Attention over a frame: each chunk attends to its ancestors and causally to itself, nothing else.

Registered in transformers' public attention registry under `ATTENTION_NAME`; the layout of the frame travels as
a keyword argument through the model to every attention layer. One call of `scaled_dot_product_attention` a chunk:
its shapes are a function of the pair alone, so that alone, grouped and batched give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

from service.engine.prefix_slots import PrefixSlots

ATTENTION_NAME = "reward_frames"
"""What `config._attn_implementation` says once our attention is in place."""

UNDERSTOOD_KEYWORDS = frozenset({"dropout", "scaling", "sliding_window", "frame", "position_ids", "use_cache"})
"""Keywords that are honoured, or that cannot change a score. Any other that is not None stops the forward:
an ignored one (soft-capping, sinks, …) would be silent and large."""


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """One chunk as rows of the frame, `[start, stop)`, and what it continues, from the root down.

    Attributes:
        num_before: Tokens of the pair before this chunk.
        ancestors: Rows of its ancestors in the frame.
        slots: Kept chunks that come before those.
        store: The slot to keep this chunk under, if it is to be kept.
        is_read: Whether any of its last hidden states are wanted.
    """

    start: int
    stop: int
    num_before: int = 0
    ancestors: tuple[tuple[int, int], ...] = ()
    slots: tuple[int, ...] = ()
    sees_itself: bool = True
    store: int | None = None
    is_read: bool = True


@dataclass(slots=True)
class FrameLayout:
    """The chunks of one frame, what is kept of others, and the masks, made once a frame and used by every layer.

    Attributes:
        rows: The rows that go on after the last layer's attention, where not all do (see `last_layer`).
    """

    spans: Sequence[ChunkSpan]
    num_tokens: int
    kept: PrefixSlots
    rows: Tensor | None = None
    _masks: dict[tuple[int, int, int | None, bool], Tensor | None] = field(default_factory=dict)

    def mask(self, span: ChunkSpan, window: int | None, like: Tensor) -> Tensor | None:
        """Additive mask (queries, keys) of a chunk, or None where plain causality says it all."""
        key = (span.stop - span.start, span.num_before, window, span.sees_itself)
        if key not in self._masks:
            self._masks[key] = _chunk_mask(*key, like=like)
        return self._masks[key]


def _chunk_mask(
    num_queries: int, num_before: int, window: int | None, sees_itself: bool, *, like: Tensor
) -> Tensor | None:
    """What each of a chunk's queries may see of its ancestors' keys and its own.

    Query i stands at position `num_before + i` and sees the keys up to itself; with a window of W it sees the
    last W of them (itself included), as transformers counts a window.
    """
    is_windowed = window is not None and num_before + num_queries > window
    if num_before == 0 and sees_itself and not is_windowed:
        return None
    query = torch.arange(num_queries, device=like.device)[:, None] + num_before
    key = torch.arange(num_before + num_queries if sees_itself else num_before, device=like.device)[None, :]
    visible = key <= query
    if is_windowed and window is not None:
        visible &= key > query - window
    return torch.zeros(visible.shape, dtype=like.dtype, device=like.device).masked_fill_(~visible, float("-inf"))


def frame_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    frame: FrameLayout,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **unknown: Any,
) -> tuple[Tensor, None]:
    """Computes attention for every chunk of a frame.

    Args:
        query: (1, heads, N, head_dim), rotary applied.
        key, value: (1, key/value heads, N, head_dim).
        attention_mask: Always None: no mask function is registered for our name.

    Returns:
        (1, N, heads, head_dim); zero in the rows that only fill the frame up, and in the last layer's chunks that
        nobody reads.

    Raises:
        NotImplementedError: If the layer asks for something that is not honoured here.
    """
    _refuse_unknown(attention_mask, dropout, unknown)
    layer, num_groups = _layer_of(module), query.shape[1] // key.shape[1]
    is_last = frame.rows is not None and layer == frame.kept.num_layers - 1
    output = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
    output[:, frame.num_tokens :] = 0
    for span in frame.spans:
        if span.store is not None:
            frame.kept.store(span.store, layer, key[:, :, span.start : span.stop], value[:, :, span.start : span.stop])
        if not span.is_read and is_last:
            output[:, span.start : span.stop] = 0
            continue
        mask = frame.mask(span, sliding_window, query)
        attended = F.scaled_dot_product_attention(
            query[:, :, span.start : span.stop],
            _gather(key, span, [frame.kept.read(slot, layer, 0) for slot in span.slots], num_groups),
            _gather(value, span, [frame.kept.read(slot, layer, 1) for slot in span.slots], num_groups),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
        )
        output[:, span.start : span.stop] = attended.transpose(1, 2)
    return output, None


def _layer_of(module: nn.Module) -> int:
    """The layer's place in the model, under which its keys and values are kept."""
    layer = getattr(module, "layer_idx", None)
    if not isinstance(layer, int):
        raise NotImplementedError(f"{type(module).__name__} does not say which layer it is (layer_idx)")
    return layer


def _gather(rows: Tensor, span: ChunkSpan, kept: list[Tensor], num_groups: int) -> Tensor:
    """Keys or values that a chunk may see, in the order of its pair; (1, heads, keys, head_dim)."""
    own = ((span.start, span.stop),) if span.sees_itself else ()
    parts = [*kept, *(rows[:, :, start:stop] for start, stop in (*span.ancestors, *own))]
    gathered = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return gathered.repeat_interleave(num_groups, dim=1) if num_groups > 1 else gathered


def _refuse_unknown(attention_mask: Tensor | None, dropout: float, unknown: dict[str, Any]) -> None:
    """Raises if the layer hands over anything that would be ignored."""
    strange = sorted(name for name, given in unknown.items() if given is not None and name not in UNDERSTOOD_KEYWORDS)
    if attention_mask is not None:
        strange.append("attention_mask")
    if dropout:
        strange.append(f"dropout={dropout}")
    if strange:
        raise NotImplementedError(f"the packed attention does not honour {', '.join(strange)}")


def install(backbone: nn.Module) -> None:
    """Makes a transformers backbone use the attention of this file.

    Raises:
        NotImplementedError: If the model does not take it (DeBERTa's setter only logs and stays eager).
    """
    AttentionInterface.register(ATTENTION_NAME, frame_attention)
    use(backbone, ATTENTION_NAME)


def use(backbone: nn.Module, implementation: str) -> None:
    """Switches a backbone to an attention implementation by name and makes sure that it took it."""
    backbone.set_attn_implementation(implementation)  # type: ignore[operator]
    taken = backbone.config._attn_implementation  # type: ignore[union-attr]
    if taken != implementation:
        raise NotImplementedError(f"{type(backbone).__name__} keeps attention {taken!r} instead of {implementation!r}")
