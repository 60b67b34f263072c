"""Our forward of the decoder layers we know: the same mathematics as transformers', over a frame.

Norm, attention, residual, norm, MLP, residual: the order of Llama, Mistral, Qwen2 and Qwen3 (transformers 5.17 and
5.23, read line by line; `self_check` compares at every start). How the parts are computed is `layer_parts`'
matter. In the last layer only the rows that are read go on after keys and values: their queries, attention, output
map and MLP. In an 8-layer Llama that is 10 % of the linear work and an eighth of the attention, in a 7B one 3 %.
Where attention takes all chunks in a call (`frame.runs`), every row has a query: a call a row would cost more.
The rows that go on are filled up to an admitted frame size, so that they get the bits they would get among all.
Work on rows, and on heads, is spread over as many cores as the frame has (`lanes`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from service.engine import packed_linear
from service.engine.attention import attend, attend_read_rows, layer_of, refuse_unknown
from service.engine.fused_parts import Fused, FusedParts
from service.engine.key_values import KeyValues
from service.engine.lanes import even
from service.engine.layer_parts import Angles, LayerParts, PackedParts, PlainParts
from service.engine.rotary import install_table
from service.engine.spans import FrameLayout

KNOWN_LAYERS = frozenset({"LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer"})
"""Any other layer keeps its own forward and computes every row."""

KNOWN_PARTS = {
    "": {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"},
    "self_attn": {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"},
    "mlp": {"gate_proj", "up_proj", "down_proj", "act_fn"},
}

_PROBE = torch.linspace(-4, 4, 33)


class FrameLayer(nn.Module):
    """Stands in for a known decoder layer; (1, R, H) in and out, or (1, rows read, H) out of the last one."""

    def __init__(
        self, parts: LayerParts, layer: int, row_work: int, scaling: float, window: int | None, *, is_last: bool
    ) -> None:
        """`row_work`: the layer's weights, each of which a row is multiplied with."""
        super().__init__()
        self._row_work = row_work
        self.parts = parts
        self._layer, self._scaling, self._window, self._is_last = layer, scaling, window, is_last

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, ...],
        frame: FrameLayout,
        attention_mask: Tensor | None = None,
        **unknown: Any,
    ) -> Tensor:
        """As the layer's own forward, but for the rows that are left out."""
        refuse_unknown(attention_mask, 0.0, unknown)
        hidden, angles = hidden_states[0], tuple(table[0] for table in position_embeddings)
        rows = frame.rows if self._is_last else None
        few_queries = rows is not None and frame.runs is None
        key, value, query = self._by_rows(
            frame, len(hidden), lambda block: self._before(hidden, angles, block, few_queries)
        )
        if rows is not None and few_queries:
            query = self.parts.queries(
                query.index_select(0, rows), tuple(table.index_select(0, rows) for table in angles)
            )
        seen = KeyValues(_heads_first(key), _heads_first(value), frame.kept, self._layer, query.shape[1])
        seen.exchange(frame.spans)
        attended = self._attended(_heads_first(query), seen, frame, few_queries).flatten(1)
        if rows is not None:
            hidden = hidden.index_select(0, rows)
            attended = attended if few_queries else attended.index_select(0, rows)
        (result,) = self._by_rows(frame, len(hidden), lambda block: (self._after(attended[block], hidden[block]),))
        return result[None]

    def _before(self, hidden: Tensor, angles: Angles, block: slice, few_queries: bool) -> tuple[Tensor, ...]:
        """Keys, values and queries of a block of rows; the normed rows instead of queries if only few rows have any."""
        normed = self.parts.norm_before_attention(hidden[block])
        angles = tuple(table[block] for table in angles)
        key, value = self.parts.keys_values(normed, angles)
        return key, value, normed if few_queries else self.parts.queries(normed, angles)

    def _attended(self, query: Tensor, seen: KeyValues, frame: FrameLayout, few_queries: bool) -> Tensor:
        """(N, heads, head_dim) of all rows, or of those that are read."""
        if few_queries:
            return attend_read_rows(query, seen, frame, scaling=self._scaling, window=self._window)[0]
        groups = query.shape[1] // seen.num_heads
        num_parts = len(frame.lanes.rows(query.shape[2], self._row_work))

        def of_heads(heads: slice) -> Tensor:
            queries = query[:, heads.start * groups : heads.stop * groups]
            return attend(queries, seen.of_heads(heads), frame, scaling=self._scaling, window=self._window)[0]

        return _joined(frame.lanes.each(even(seen.num_heads, min(num_parts, seen.num_heads)), of_heads), dim=1)

    def _after(self, attended: Tensor, hidden: Tensor) -> Tensor:
        return self.parts.feed_forward(self.parts.after_attention(attended, hidden))

    def _by_rows(
        self, frame: FrameLayout, num_rows: int, work: Callable[[slice], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """What `work` makes of all rows, block by block on the cores that the frame has."""
        blocks = frame.lanes.each(frame.lanes.rows(num_rows, self._row_work), work)
        return tuple(_joined(parts) for parts in zip(*blocks, strict=True))


def _joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def _heads_first(rows_NhD: Tensor) -> Tensor:
    """(N, heads, head_dim) as (1, heads, N, head_dim)."""
    return rows_NhD.transpose(0, 1)[None]


def runs_in_lanes(backbone: nn.Module) -> bool:
    """Whether several threads may run the layers at once: `install` replaces them all, and no map has state.

    Quantized maps decode into memory that they share.
    """
    layers: Any = getattr(backbone, "layers", ())
    return (
        len(layers) > 0
        and all(_is_known(layer) for layer in layers)
        and all(type(linear) is nn.Linear for layer in layers for linear in _linears(layer))
    )


def install(backbone: nn.Module, max_positions: int, min_packed_weights: int) -> str | None:
    """Replaces the layers if all are known; how their parts are computed, or None if they were left alone."""
    layers: Any = backbone.layers
    if not all(_is_known(layer) for layer in layers):
        install_table(backbone, max_positions)
        return None
    packs = _can_pack(layers, min_packed_weights)
    install_table(backbone, max_positions, as_complex=packs)
    kind = PackedParts if packs else PlainParts
    for index, layer in enumerate(layers):
        layers[index] = FrameLayer(
            kind(layer),
            layer_of(layer.self_attn),
            sum(parameter.numel() for parameter in layer.parameters()),
            layer.self_attn.scaling,
            _window(layer.self_attn),
            is_last=index == len(layers) - 1,
        )
    return packed_linear.MODE if packs else "torch"


def fuse(backbone: nn.Module) -> bool:
    """Has what stands between the maps of our layers compiled, and says so; not if any layer lacks what that needs."""
    layers: Any = backbone.layers
    if not all(isinstance(layer, FrameLayer) and type(layer.parts) is PlainParts for layer in layers):
        return False
    if not all(_has_silu(layer.parts.layer) for layer in layers):
        return False
    fused = Fused()
    for layer in layers:
        layer.parts = FusedParts(layer.parts.layer, fused)
    return True


def unfuse(backbone: nn.Module) -> None:
    """Takes that back."""
    layers: Any = backbone.layers
    for layer in layers:
        if isinstance(layer, FrameLayer) and isinstance(layer.parts, FusedParts):
            layer.parts = PlainParts(layer.parts.layer)


def _can_pack(layers: Any, min_weights: int) -> bool:
    """Tries the maps of the first layer, which stand for all: the rest must be of the same class and have SiLU."""
    maps = [_linears(layer) for layer in layers]
    return (
        all(type(linear) is nn.Linear for of_layer in maps for linear in of_layer)
        and all(map(_has_silu, layers))
        and packed_linear.can_pack(maps[0], min_weights)
    )


def _has_silu(layer: Any) -> bool:
    return torch.allclose(layer.mlp.act_fn(_PROBE), nn.functional.silu(_PROBE))


def _is_known(layer: nn.Module) -> bool:
    if type(layer).__name__ not in KNOWN_LAYERS or {name for name, _ in layer.named_children()} != KNOWN_PARTS[""]:
        return False
    within = ((part, {name for name, _ in getattr(layer, part).named_children()}) for part in ("self_attn", "mlp"))
    return all(names <= KNOWN_PARTS[part] for part, names in within)


def _linears(layer: Any) -> list[nn.Module]:
    attention, mlp = layer.self_attn, layer.mlp
    maps = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return [*maps, mlp.gate_proj, mlp.up_proj, mlp.down_proj]


def _window(attention: Any) -> int | None:
    """The layer's sliding window: its own, or for Mistral the model's."""
    holder = attention.config if type(attention).__name__ == "MistralAttention" else attention
    window: int | None = getattr(holder, "sliding_window", None)
    return window
