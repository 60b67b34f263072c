"""Attention heads that a small model starts out with: windows, word matching, and looking up.

Relevance, repetition and correctness are about words that come back, and about what stood beside them. Found by chance,
heads for that take very many tokens to form (Olsson et al., "In-context Learning and Induction Heads", 2022); started
this way they are there from the first step, and training refines them. 0.72 million tokens in, a model that started
with them (and with a space before each turn's text, `tokenizer.py`) had 0.73 of unseen pairs right, one that started
with matching heads alone 0.59.

The residual stream starts out divided: a random vector for each token's identity, shorter for the commonest tokens; a
constant; a number that makes all embeddings equally long; a mark of BOS; and three scratch spaces, empty at first.
A head's 32 dimensions are divided by how fast RoPE turns them: the fast ones tell distances, the slow ones compare.

* Layer 0 looks one token back and writes what it finds to `previous`; two wider windows write to `near`.
* Layer 1 looks for the same token, with the same `previous` if there is one, and writes what is `near` it to `found`.
* Layer 2 compares identity with `found`, both ways round: is this word near what the question named?
* In every layer, two of three heads look for their own token, not here but farther off; without one they rest at BOS.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForSequenceClassification

__all__ = ["HEAD_DIM", "NUM_GROUPS", "start_heads"]

HEAD_DIM = 32
NUM_GROUPS = 2
"""Key-value heads; each serves as many query heads, and at least three."""
_HALF = HEAD_DIM // 2
"""RoPE turns dimension d together with d + 16, by a frequency that falls with d."""
_NUM_FAST = 6
_SINK = _HALF - 1
"""The slowest dimension, in which every query looks for BOS."""
_SLOW = [*range(_NUM_FAST, _SINK), *range(_HALF + _NUM_FAST, HEAD_DIM - 1)]
_WIDTH = len(_SLOW)
"""Of a comparison, and so of a scratch space."""
_ROOT = 5.657
"""Of `HEAD_DIM`: attention divides by it."""

_IDENTITY_NORM = 6.0
_CONSTANT = 3.0
_EMBEDDING_SQUARE = 1.05 * _IDENTITY_NORM**2 + _CONSTANT**2
_SCRATCH_SQUARE = (0.0, 8.0, 12.0)
"""What the scratch spaces add to the squared norm of a state before layers 0, 1, and any later one."""
_MATCH, _SINK_SCORE, _LOOK = 20.0, 5.0, 9.0
"""Attention scores: of an equal token, of BOS, and of what was found (about a quarter of it is the word itself)."""
_PREVIOUS_SHARE = 0.4
_WRITTEN = {"window": 0.6, "found": 0.25}
_WINDOWS = (
    (1.0, (2.0, 1.5, 1.0, 1.0, 1.0, 1.0)),
    (3.0, (0.0, 1.0, 1.0, 1.0, 1.0, 1.0)),
    (7.0, (0.0, 0.0, 1.4, 1.2, 1.0, 1.0)),
)
"""How many tokens back a window lies, and the weight of each fast frequency: without the fastest it is wider."""
_WINDOW_SHARPNESS = 2.2
_INIT_STD, _DOWN_STD = 0.02, 0.014
_FIRST_WORD = 260
"""Smaller ids are special tokens and bytes. Beyond, a byte-pair id is its rank: the commonest merges come first."""


def start_heads(model: LlamaForSequenceClassification, rope_theta: float) -> None:
    """Give an untrained Llama with heads of 32 dimensions, in two groups of three or more, these first weights.

    Args:
        model: Changed by this call.
        rope_theta: Its RoPE base.

    Raises:
        ValueError: The model's shape has no room for them.
    """
    config = model.config
    shape = (config.num_key_value_heads, config.num_attention_heads, config.head_dim, config.num_hidden_layers)
    if shape[0] != NUM_GROUPS or shape[1] < len(_WINDOWS) * NUM_GROUPS or shape[2] != HEAD_DIM or shape[3] < 3:
        raise ValueError(
            f"needs {NUM_GROUPS} key-value heads, at least {len(_WINDOWS)} query heads for each, "
            f"head_dim {HEAD_DIM} and at least 3 layers, got {shape[0]}, {shape[1]}, {shape[2]} and {shape[3]}"
        )
    with torch.no_grad():
        space = _Space.of(config.hidden_size)
        _start_embedding(model.model.embed_tokens.weight, space)
        identity_NH = space.projection()
        for layer in range(config.num_hidden_layers):
            _start_layer(model, layer, space)
        _start_windows(_Heads.of(model, 0), space, identity_NH, rope_theta)
        _start_finding(_Heads.of(model, 1), space)
        _start_looking(_Heads.of(model, 2), space, identity_NH)


@dataclass(frozen=True, slots=True)
class _Space:
    """How the residual stream of `hidden_size` dimensions is divided."""

    hidden_size: int
    num_identity: int

    @classmethod
    def of(cls, hidden_size: int) -> _Space:
        num_identity = hidden_size - 3 * _WIDTH - 3
        if num_identity < 2 * _WIDTH:
            raise ValueError(f"a hidden size of {hidden_size} leaves {num_identity} dimensions to tell tokens apart")
        return cls(hidden_size, num_identity)

    @property
    def constant(self) -> int:
        return self.num_identity

    @property
    def filler(self) -> int:
        return self.num_identity + 1

    @property
    def bos(self) -> int:
        return self.num_identity + 2

    def projection(self) -> Tensor:
        """Draw a projection [N, H] of identities, with orthonormal rows."""
        projection_NH = torch.zeros(_WIDTH, self.hidden_size)
        projection_NH[:, : self.num_identity] = torch.linalg.qr(torch.randn(self.num_identity, _WIDTH))[0].T
        return projection_NH

    def scratch(self, place: int) -> slice:
        """Where a scratch space lies: 0 is `previous`, 1 is `near`, 2 is `found`."""
        start = self.num_identity + 3 + place * _WIDTH
        return slice(start, start + _WIDTH)

    def reading(self, place: int) -> Tensor:
        """The projection [N, H] that reads a scratch space."""
        reading_NH = torch.zeros(_WIDTH, self.hidden_size)
        reading_NH[:, self.scratch(place)] = torch.eye(_WIDTH)
        return reading_NH

    def shrunk(self, layer: int) -> float:
        """By how much the norm before a layer divides: the root mean square of its input."""
        square = _EMBEDDING_SQUARE + _SCRATCH_SQUARE[min(layer, 2)]
        return float(square**0.5 / self.hidden_size**0.5)

    def from_one(self, head_D: Tensor, place: int, layer: int, size: float) -> Tensor:
        """The projection [D, H] that gives `head_D` for a dimension that is `size` before the norm."""
        one_H = torch.zeros(self.hidden_size)
        one_H[place] = 1.0
        return torch.outer(head_D, one_H) * self.shrunk(layer) / size


@dataclass(frozen=True, slots=True)
class _Heads:
    """Views of one layer's attention weights; writing to them writes to the model."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    outputs: Tensor

    @classmethod
    def of(cls, model: LlamaForSequenceClassification, layer: int) -> _Heads:
        attention = model.model.layers[layer].self_attn
        hidden = model.config.hidden_size
        return cls(
            attention.q_proj.weight.view(NUM_GROUPS, -1, HEAD_DIM, hidden),
            attention.k_proj.weight.view(NUM_GROUPS, HEAD_DIM, hidden),
            attention.v_proj.weight.view(NUM_GROUPS, HEAD_DIM, hidden),
            attention.o_proj.weight.view(hidden, NUM_GROUPS, -1, HEAD_DIM),
        )

    def look(self, group: int, query_DH: Tensor) -> None:
        """Let all heads of a group but the last ask this; the last one keeps its random question."""
        self.queries[group, :-1] = query_DH

    def write(self, group: int, head: int, where: slice, gain: float) -> None:
        """Let a head write its value's first dimensions to a scratch space, and nothing else."""
        self.outputs[:, group, head] = 0
        self.outputs[where, group, head, :_WIDTH] = torch.eye(_WIDTH) * gain


def _start_embedding(embedding_VH: Tensor, space: _Space) -> None:
    num_tokens = embedding_VH.shape[0]
    embedding_VH.zero_()
    identity_VI = torch.randn(num_tokens, space.num_identity)
    identity_VI *= _IDENTITY_NORM / identity_VI.norm(dim=1, keepdim=True)
    rank = torch.arange(num_tokens).float()[_FIRST_WORD:] - 255
    identity_VI[_FIRST_WORD:] *= (rank / 800).sqrt().clamp(0.35, 1)[:, None]
    identity_VI[1:4] *= 0.5
    identity_VI[0] = 0
    embedding_VH[:, : space.num_identity] = identity_VI
    embedding_VH[:, space.constant] = _CONSTANT
    embedding_VH[:, space.filler] = (1.05 * _IDENTITY_NORM**2 - identity_VI.square().sum(1)).sqrt()
    embedding_VH[0, space.filler] = 0
    embedding_VH[0, space.bos] = _IDENTITY_NORM


def _start_layer(model: LlamaForSequenceClassification, layer: int, space: _Space) -> None:
    """Draw what is left to chance, and let two of three heads look for their own token."""
    heads, mlp = _Heads.of(model, layer), model.model.layers[layer].mlp
    for weight, std in (
        (heads.values, _INIT_STD),
        (heads.outputs, _INIT_STD),
        (mlp.gate_proj.weight, _INIT_STD),
        (mlp.up_proj.weight, _INIT_STD),
        (mlp.down_proj.weight, _DOWN_STD),
    ):
        weight.normal_(0, std)
    size = _IDENTITY_NORM / space.shrunk(layer) * (_WIDTH / space.num_identity) ** 0.5
    for group in range(NUM_GROUPS):
        same_NH = space.projection()
        if layer:
            same_NH = same_NH + _PREVIOUS_SHARE * space.reading(0)
        same_NH = same_NH * ((_MATCH * _ROOT) ** 0.5 / size)
        heads.keys[group], query_DH = _key_and_query(space, layer, same_NH, same_NH)
        heads.look(group, query_DH)


def _key_and_query(space: _Space, layer: int, key_NH: Tensor, query_NH: Tensor) -> tuple[Tensor, Tensor]:
    """Compare in the slow dimensions; score what stands right here lower, and BOS by a fixed score."""
    fast_D = torch.zeros(HEAD_DIM)
    fast_D[:5] = _ROOT**0.5
    sink_D = torch.zeros(HEAD_DIM)
    sink_D[_SINK] = 1.0
    here_DH = space.from_one(fast_D, space.constant, layer, _CONSTANT)
    at_bos_DH = space.from_one(sink_D, space.bos, layer, _IDENTITY_NORM) * _SINK_SCORE * _ROOT
    wanted_DH = space.from_one(sink_D, space.constant, layer, _CONSTANT)
    return _slow(key_NH) + here_DH + at_bos_DH, _slow(query_NH) - here_DH + wanted_DH


def _slow(projection_NH: Tensor) -> Tensor:
    head_DH = torch.zeros(HEAD_DIM, projection_NH.shape[1])
    head_DH[_SLOW] = projection_NH
    return head_DH


def _start_windows(heads: _Heads, space: _Space, identity_NH: Tensor, theta: float) -> None:
    """Layer 0, second group: one key for all places, and queries that meet it some tokens back."""
    frequency = theta ** (-torch.arange(_HALF) / _HALF)
    fast_D = torch.zeros(HEAD_DIM)
    fast_D[:_NUM_FAST] = 1.0
    heads.keys[1] = space.from_one(fast_D, space.constant, 0, _CONSTANT)
    for head, (offset, weights) in enumerate(_WINDOWS):
        weight = torch.zeros(_HALF)
        weight[:_NUM_FAST] = torch.tensor(weights)
        query_D = torch.cat([weight * torch.cos(offset * frequency), -weight * torch.sin(offset * frequency)])
        query_DH = space.from_one(query_D, space.constant, 0, _CONSTANT)
        heads.queries[1, head] = query_DH * _WINDOW_SHARPNESS * _ROOT
        heads.write(1, head, space.scratch(0 if head == 0 else 1), _WRITTEN["window"])
    heads.values[1, :_WIDTH] = identity_NH


def _start_finding(heads: _Heads, space: _Space) -> None:
    """Layer 1: what is near an equal token is written to `found`."""
    for group in range(NUM_GROUPS):
        heads.values[group, :_WIDTH] = space.reading(1)
        for head in range(heads.outputs.shape[2] - 1):
            heads.write(group, head, space.scratch(2), _WRITTEN["found"])


def _start_looking(heads: _Heads, space: _Space, identity_NH: Tensor) -> None:
    """Layer 2: a word asks where it was found, and what was found asks for its word."""
    gain = (_LOOK * _ROOT) ** 0.5 / 2
    found_NH, word_NH = gain * space.reading(2), gain * identity_NH
    heads.keys[0], query_DH = _key_and_query(space, 2, found_NH, word_NH)
    heads.look(0, query_DH)
    heads.keys[1], query_DH = _key_and_query(space, 2, word_NH, found_NH)
    heads.look(1, query_DH)
