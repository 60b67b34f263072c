"""How the parts of a decoder layer are computed: by the layer's own modules, or packed for the CPU in fp32.

Suffixes give shapes: N rows, H hidden size, h heads, D head size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from service.engine.packed_linear import side_by_side

Angles = tuple[Tensor, ...]
"""What the rotary table gives for the rows at hand: (N, D) cosines and sines, or (N, D / 2) complex numbers."""


class LayerParts(Protocol):
    """The parts of one layer, in the order of its forward."""

    def norm_before_attention(self, hidden_NH: Tensor) -> Tensor:
        """The first norm."""

    def queries(self, normed_NH: Tensor, angles: Angles) -> Tensor:
        """(N, h, D), rotary applied."""

    def keys_values(self, normed_NH: Tensor, angles: Angles) -> tuple[Tensor, Tensor]:
        """(N, key/value heads, D) each, rotary applied to the keys."""

    def after_attention(self, attended_NhD: Tensor, hidden_NH: Tensor) -> Tensor:
        """Output map and residual."""

    def feed_forward(self, hidden_NH: Tensor) -> Tensor:
        """The second norm, MLP and residual."""


class PlainParts:
    """Calls the layer's own modules, in any dtype and on any device, rounding where transformers rounds."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer: Any = layer

    def norm_before_attention(self, hidden_NH: Tensor) -> Tensor:
        """The layer's own norm."""
        return self._normed(self.layer.input_layernorm, hidden_NH)

    def queries(self, normed_NH: Tensor, angles: Angles) -> Tensor:
        """Own map, own norm of each head if there is one, rotary."""
        attention = self.layer.self_attn
        query = _heads(attention.q_proj(normed_NH), attention.head_dim)
        return self._turned(self._normed(attention.q_norm, query) if hasattr(attention, "q_norm") else query, angles)

    def keys_values(self, normed_NH: Tensor, angles: Angles) -> tuple[Tensor, Tensor]:
        """As `queries`; values as they are."""
        attention = self.layer.self_attn
        key, value = (
            _heads(project(normed_NH), attention.head_dim) for project in (attention.k_proj, attention.v_proj)
        )
        key = self._normed(attention.k_norm, key) if hasattr(attention, "k_norm") else key
        return self._turned(key, angles), value

    def after_attention(self, attended_NhD: Tensor, hidden_NH: Tensor) -> Tensor:
        """Own output map, then the residual."""
        return hidden_NH + self.layer.self_attn.o_proj(attended_NhD)  # type: ignore[no-any-return]

    def feed_forward(self, hidden_NH: Tensor) -> Tensor:
        """Own norm and MLP, then the residual."""
        return hidden_NH + self._mlp(self._normed(self.layer.post_attention_layernorm, hidden_NH))

    def _normed(self, norm: nn.Module, rows: Tensor) -> Tensor:
        return norm(rows)  # type: ignore[no-any-return]

    def _turned(self, rows_NhD: Tensor, angles: Angles) -> Tensor:
        return rotated(rows_NhD, *angles)

    def _mlp(self, normed_NH: Tensor) -> Tensor:
        return self.layer.mlp(normed_NH)  # type: ignore[no-any-return]


def rotated(rows_NhD: Tensor, cosines_ND: Tensor, sines_ND: Tensor) -> Tensor:
    """Rotary embedding of halves (GPT-NeoX's order, which Llama's published weights in transformers' layout follow)."""
    first, second = rows_NhD.chunk(2, dim=-1)
    return rows_NhD * cosines_ND[:, None] + torch.cat((-second, first), dim=-1) * sines_ND[:, None]


class PackedParts:
    """fp32 on the CPU: maps by oneDNN with product and residuals in the same pass, rotary as one product.

    Queries and keys are laid out with the two halves of each head interleaved, so that a rotary angle is one complex
    number times another; attention scores do not change if queries and keys are permuted alike.
    """

    def __init__(self, layer: nn.Module) -> None:
        parts: Any = layer
        attention, mlp = parts.self_attn, parts.mlp
        self._head_dim = int(attention.head_dim)
        self._num_key_values = attention.k_proj.out_features // self._head_dim
        self._norms = (_RmsNorm(parts.input_layernorm), _RmsNorm(parts.post_attention_layernorm))
        self._query = side_by_side(self._interleaved(attention.q_proj))
        self._key_value = side_by_side(self._interleaved(attention.k_proj), _weights(attention.v_proj))
        self._query_norm, self._key_norm = (self._head_norm(attention, name) for name in ("q_norm", "k_norm"))
        self._output = side_by_side(_weights(attention.o_proj))
        self._gate, self._up, self._down = (
            side_by_side(_weights(linear)) for linear in (mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        )

    def norm_before_attention(self, hidden_NH: Tensor) -> Tensor:
        """RMS norm."""
        return self._norms[0](hidden_NH)

    def queries(self, normed_NH: Tensor, angles: Angles) -> Tensor:
        """Map, norm of each head if there is one, rotary."""
        return self._turned(_heads(self._query(normed_NH), self._head_dim), self._query_norm, angles)

    def keys_values(self, normed_NH: Tensor, angles: Angles) -> tuple[Tensor, Tensor]:
        """Both from one map."""
        both = _heads(self._key_value(normed_NH), self._head_dim)
        key, value = both[:, : self._num_key_values], both[:, self._num_key_values :]
        return self._turned(key, self._key_norm, angles), value

    def after_attention(self, attended_NhD: Tensor, hidden_NH: Tensor) -> Tensor:
        """Output map and residual in one pass."""
        return self._output.plus(attended_NhD, hidden_NH)

    def feed_forward(self, hidden_NH: Tensor) -> Tensor:
        """Three maps; product and residual within them."""
        normed = self._norms[1](hidden_NH)
        return self._down.plus(self._up.times(normed, self._gate.silu(normed)), hidden_NH)

    def _turned(self, rows_NhD: Tensor, norm: _RmsNorm | None, angles: Angles) -> Tensor:
        rows_NhD = rows_NhD if norm is None else norm(rows_NhD)
        turned = torch.view_as_complex(rows_NhD.view(*rows_NhD.shape[:2], -1, 2)) * angles[0][:, None]
        return torch.view_as_real(turned).flatten(-2)

    def _head_norm(self, attention: Any, name: str) -> _RmsNorm | None:
        norm = getattr(attention, name, None)
        return None if norm is None else _RmsNorm(norm, self._order())

    def _order(self) -> Tensor:
        """Places of a head's numbers once its halves are interleaved: 0, D/2, 1, D/2 + 1, …"""
        return torch.arange(self._head_dim).view(2, -1).t().flatten()

    def _interleaved(self, linear: nn.Linear) -> tuple[Tensor, Tensor | None]:
        rows = torch.arange(linear.out_features).view(-1, self._head_dim)[:, self._order()].flatten()
        weight, bias = _weights(linear)
        return weight[rows], None if bias is None else bias[rows]


def _heads(rows_N: Tensor, head_dim: int) -> Tensor:
    """(N, heads * head_dim) as (N, heads, head_dim)."""
    return rows_N.view(rows_N.shape[0], -1, head_dim)


def _weights(linear: nn.Linear) -> tuple[Tensor, Tensor | None]:
    return linear.weight.detach(), None if linear.bias is None else linear.bias.detach()


class _RmsNorm:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axis, fp32, in two passes over x."""

    def __init__(self, norm: Any, order: Tensor | None = None) -> None:
        weight: Tensor = norm.weight.detach()
        self._weight = weight if order is None else weight[order]
        self._eps = float(norm.variance_epsilon)

    def __call__(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().mul_(1 / x.shape[-1])
        normed: Tensor = (x * mean_square.add_(self._eps).rsqrt_()).mul_(self._weight)
        return normed
