"""Attention heads that a small model starts out with: local windows, word matching, and looking up.

Relevance, repetition and correctness are about words that come back, and about what stood beside them. Found by chance,
such heads take hundreds of millions of tokens to form (Olsson et al., "In-context Learning and Induction Heads", 2022,
see them form at some billions); started this way they are there from the first step, and training refines them.

The residual stream is divided: word identities (random), one constant direction, and two scratch spaces that start empty.

* Layer 0: heads that look 1, 2-4 and 5-10 tokens back write what they find into the scratch space `near`.
* Layer 1: heads that look for the same word (with the same neighbours, if possible) write what was `near` there into `found`.
* Layer 2: heads that match a word with what was `found`, and what was `found` with a word.
* Later layers: two of three heads look for the same token.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForSequenceClassification

HEAD = 32
FAST = 6
SLOW = [*range(FAST, HEAD // 2 - 1), *range(HEAD // 2 + FAST, HEAD - 1)]
SINK = HEAD // 2 - 1
N = len(SLOW)


def start_heads(model: LlamaForSequenceClassification, **k) -> None:
    with torch.no_grad():
        _start(model, **k)


def _orthonormal(rows: int, columns: int) -> Tensor:
    return torch.linalg.qr(torch.randn(columns, rows))[0].T


def _rotated(offset: float, weights: Tensor, freqs: Tensor) -> Tensor:
    """A query [32] that a key made of the same weights meets best `offset` tokens back."""
    return torch.cat([weights * torch.cos(offset * freqs), -weights * torch.sin(offset * freqs)])


def _slow(P: Tensor) -> Tensor:
    out = torch.zeros(HEAD, P.shape[1])
    out[SLOW] = P
    return out


def _start(
    model,
    id_norm=6.0,
    const=3.0,
    near_gain=0.6,
    found_gain=0.5,
    match=20.0,
    look=9.0,
    prev=0.4,
    self_pen=1.0,
    sink=5.0,
    second=True,
    vo=0.02,
    mlp=0.02,
    lookup=True,
) -> None:
    hidden = model.config.hidden_size
    num_id = hidden - 3 * N - 3
    theta = model.config.rope_parameters["rope_theta"]
    freqs = theta ** (-torch.arange(HEAD // 2) / (HEAD // 2))
    E = model.model.embed_tokens.weight
    V = E.shape[0]
    E.zero_()
    ids = torch.randn(V, num_id)
    ids *= id_norm / ids.norm(dim=1, keepdim=True)
    order = torch.arange(V).float()
    ids[260:] *= ((order[260:] - 255) / 800).sqrt().clamp(0.35, 1)[:, None]
    ids[1:4] *= 0.5
    ids[0] = 0
    CONST, PAD, BOS = num_id, num_id + 1, num_id + 2
    E[:, :num_id] = ids
    E[:, CONST] = const
    E[:, PAD] = (id_norm**2 * 1.05 - ids.square().sum(1)).sqrt()
    E[0, PAD] = 0
    E[0, BOS] = id_norm
    norm = (id_norm**2 * 1.05 + const**2) ** 0.5
    spaces = [slice(num_id + 3 + i * N, num_id + 3 + (i + 1) * N) for i in range(3)]

    def projection():
        P = torch.zeros(N, hidden)
        P[:, :num_id] = _orthonormal(N, num_id)
        return P

    def reading(space):
        P = torch.zeros(N, hidden)
        P[:, space] = torch.eye(N)
        return P

    PREV, NEAR, FOUND = map(reading, spaces)
    A = projection()

    def unit(place):
        u = torch.zeros(hidden)
        u[place] = 1.0
        return u

    def parts(layer):
        a = model.model.layers[layer].self_attn
        return (
            a.q_proj.weight.view(6, HEAD, hidden),
            a.k_proj.weight.view(2, HEAD, hidden),
            a.v_proj.weight.view(2, HEAD, hidden),
            a.o_proj.weight.view(hidden, 6, HEAD),
        )

    root = hidden**0.5

    def up(layer):  # how much smaller the embedding is after the norm of this layer
        return (norm**2 + (0, 8.0, 12.0, 12.0, 12.0, 12.0)[layer]) ** 0.5 / root

    pen = torch.zeros(HEAD // 2)
    pen[:5] = 1.0

    def fast(w, place, layer):  # a constant key or query
        return torch.outer(w, unit(place)) * up(layer) / const

    def penalty(layer):
        return fast(torch.cat([pen, torch.zeros(HEAD // 2)]), CONST, layer) * (self_pen * 5.657) ** 0.5

    def at_sink(place, layer, size):
        w = torch.zeros(HEAD)
        w[SINK] = 1.0
        return torch.outer(w, unit(place)) * up(layer) / size

    def keys_and_queries(layer, K, Q):
        return (
            _slow(K) + penalty(layer) + at_sink(BOS, layer, id_norm) * sink * 5.657,
            _slow(Q) - penalty(layer) + at_sink(CONST, layer, const),
        )

    def matching(layer):
        """Same-token logit `match` for a full-size identity."""
        size = id_norm / up(layer) * (N / num_id) ** 0.5
        return (match * 5.657) ** 0.5 / size

    for layer in range(model.config.num_hidden_layers):
        q, k, v, o = parts(layer)
        v.normal_(0, vo)
        o.normal_(0, vo)
        mm = model.model.layers[layer].mlp
        mm.gate_proj.weight.normal_(0, mlp)
        mm.up_proj.weight.normal_(0, mlp)
        mm.down_proj.weight.normal_(0, mlp * 0.7)
        for g in range(2):
            P = projection() + (prev * PREV if layer else 0 * PREV)
            P = P * matching(layer)
            k[g], Q = keys_and_queries(layer, P, P)
            q[3 * g], q[3 * g + 1] = Q, Q
    q, k, v, o = parts(0)
    w = torch.zeros(HEAD)
    w[:FAST] = 1.0
    k[1] = fast(w, CONST, 0)
    for h, (offset, ww) in enumerate(
        ((1.0, [2, 1.5, 1, 1, 1, 1]), (3.0, [0.0, 1.0, 1, 1, 1, 1]), (7, [0, 0.0, 1.4, 1.2, 1, 1]))
    ):
        wh = torch.zeros(HEAD // 2)
        wh[:FAST] = torch.tensor(ww)
        q[3 + h] = fast(_rotated(offset, wh, freqs), CONST, 0) * 2.2 * 5.657
        o[:, 3 + h] = 0
        o[spaces[0] if h == 0 else spaces[1], 3 + h, :N] = torch.eye(N) * near_gain
    v[1, :N] = A
    if not lookup:
        return
    q, k, v, o = parts(1)
    for g in range(1 + second):
        v[g, :N] = NEAR
        for h in range(3 * g, 3 * g + 2):
            o[:, h] = 0
            o[spaces[2], h, :N] = torch.eye(N) * found_gain / (1 + second)
    q, k, v, o = parts(2)
    f = (look * 5.657) ** 0.5 / 2
    k[0], Q = keys_and_queries(2, f * FOUND, f * A)
    q[0] = q[1] = Q
    k[1], Q = keys_and_queries(2, f * A, f * FOUND)
    q[3] = q[4] = Q
