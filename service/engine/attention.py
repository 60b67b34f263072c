"""Attention over a frame: each chunk attends to its ancestors and causally to itself, nothing else.

One call of `scaled_dot_product_attention` a chunk: its shapes are a function of the pair alone, so that alone,
grouped and batched give the same bits. On the processor chunks far behind a prompt share a call for it
(`shared_prefix`). Where the device has it, one call a frame (`varlen`). Our own layers
(`decoder_layer`) call it directly; any other layer finds it in transformers' public attention registry under
`ATTENTION_NAME`, and the layout of the frame travels to it as a keyword argument.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

from service.engine import shared_prefix
from service.engine.key_values import KeyValues
from service.engine.spans import ChunkRuns, FrameLayout

ATTENTION_NAME = "reward_frames"
"""What `config._attn_implementation` says once our attention is in place."""

UNDERSTOOD_KEYWORDS = frozenset({"dropout", "scaling", "sliding_window", "frame", "position_ids", "use_cache"})
"""Keywords that are honoured, or that cannot change a score. Any other that is not None stops the forward:
an ignored one (soft-capping, sinks, …) would be silent and large."""


def attend(query: Tensor, seen: KeyValues, frame: FrameLayout, *, scaling: float | None, window: int | None) -> Tensor:
    """Attention of every chunk of a frame, at one layer.

    Args:
        query: (1, heads, N, head_dim), rotary applied.
        seen: The layer's keys and values, of as many heads.
        window: How many keys a query sees at most, itself included; None for all.

    Returns:
        (1, N, heads, head_dim); zero in the rows that only fill the frame up.
    """
    if frame.runs is None:
        spans, output = frame.spans, query.new_empty(1, query.shape[2], query.shape[1], seen.value_dim)
    else:
        spans, output = frame.runs.blind, _attend_runs(query, seen, frame.runs, scaling=scaling, window=window)
    output[:, frame.num_tokens :] = 0
    splits = frame.runs is None and shared_prefix.applies(query, seen, window)
    for siblings in frame.far_families if splits else ():
        shared_prefix.attend_siblings(query, seen, siblings, output, scaling=scaling)
    for span in spans:
        if splits and span.is_far:
            continue
        key, value = seen.seen_by(span)
        mask = frame.mask(span, window, query)
        attended = F.scaled_dot_product_attention(
            query[:, :, span.start : span.stop],
            key,
            value,
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
        )
        output[:, span.start : span.stop] = attended.transpose(1, 2)
    return output


def _attend_runs(
    query: Tensor, seen: KeyValues, chunks: ChunkRuns, *, scaling: float | None, window: int | None
) -> Tensor:
    """(1, N, heads, head_dim): the chunks in few calls; undefined for blind chunks and the rows that fill up."""
    queries, attention = query[0].transpose(0, 1), chunks.attention
    output = query.new_empty(1, query.shape[2], query.shape[1], seen.value_dim)
    for call in chunks.calls:
        key, value = seen.of_call(call, expands=not attention.takes_groups)
        output[0, call.rows] = attention(queries[call.rows], key, value, call.runs, scaling=scaling, window=window)
    return output


def attend_read_rows(
    query: Tensor, seen: KeyValues, frame: FrameLayout, *, scaling: float | None, window: int | None
) -> Tensor:
    """Attention of the rows that are read, one call each, so that a row's bits do not depend on how many are read.

    Args:
        query: (1, heads, rows, head_dim), of `frame.rows`.

    Returns:
        (1, rows, heads, head_dim); zero in the rows that only fill up.
    """
    output = query.new_zeros(1, query.shape[2], query.shape[1], seen.value_dim)
    last = None
    for place, (row, span) in enumerate(frame.reads):
        if span is not last:
            key, value = seen.seen_by(span)
            last = span
        num_seen = min(span.num_before + row - span.start + 1, key.shape[2])
        first = 0 if window is None else max(0, span.num_before + row - span.start + 1 - window)
        attended = F.scaled_dot_product_attention(
            query[:, :, place : place + 1], key[:, :, first:num_seen], value[:, :, first:num_seen], scale=scaling
        )
        output[:, place] = attended[:, :, 0]
    return output


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
    """`attend` as transformers' layers call it.

    Args:
        query: (1, heads, N, head_dim), rotary applied.
        key, value: (1, key/value heads, N, head_dim).
        attention_mask: Always None: no mask function is registered for our name.

    Returns:
        (1, N, heads, head_dim).

    Raises:
        NotImplementedError: If the layer asks for something that is not honoured here.
    """
    refuse_unknown(attention_mask, dropout, unknown)
    seen = KeyValues(key, value, frame.kept, layer_of(module), query.shape[1])
    seen.exchange(frame.spans)
    return attend(query, seen, frame, scaling=scaling, window=sliding_window), None


def layer_of(module: nn.Module) -> int:
    """The layer's place in the model, under which its keys and values are kept."""
    layer = getattr(module, "layer_idx", None)
    if not isinstance(layer, int):
        raise NotImplementedError(f"{type(module).__name__} does not say which layer it is (layer_idx)")
    return layer


def refuse_unknown(attention_mask: Tensor | None, dropout: float, unknown: dict[str, Any]) -> None:
    """Raises NotImplementedError if the layer hands over anything that would be ignored."""
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
