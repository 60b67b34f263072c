"""How a backbone's tensors are named and cut in the files, where that is not as transformers has them.

`standard`: the same names behind a prefix. `internlm2`: InternLM2's own names, which is a Llama with queries, keys and
values of each key/value head side by side in one tensor (InternLM/xtuner, modeling_internlm2_reward.py). Knows names
and shapes; tensors are only ever cut by the functions returned. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_store.weights_match import Wanted

Cut = Callable[[Any], Any]
"""From a tensor of the files to a tensor of the backbone."""

LAYOUTS = ("standard", "internlm2")


@dataclass(frozen=True, slots=True)
class Source:
    """Where one of the backbone's tensors comes from."""

    wanted: Wanted
    cut: Cut = lambda tensor: tensor


def sources(
    layout: str, shapes: Mapping[str, tuple[int, ...]], prefixes: Sequence[str], config: Any
) -> dict[str, Source]:
    """For each of the backbone's own tensors, by name, what it is read from.

    Args:
        layout: One of `LAYOUTS`.
        shapes: The backbone's tensors.
        prefixes: What may stand before a name in the files, the usual one first.
        config: transformers' config of the backbone.
    """
    make = _internlm2 if layout == "internlm2" else _standard
    return {key: make(key, shape, prefixes, config) for key, shape in shapes.items()}


def _standard(key: str, shape: tuple[int, ...], prefixes: Sequence[str], _: Any) -> Source:
    return Source(_named(prefixes, key, shape))


_INTERNLM2 = (
    (r"^embed_tokens\.", "tok_embeddings."),
    (r"\.self_attn\.o_proj\.", ".attention.wo."),
    (r"\.self_attn\.[qkv]_proj\.", ".attention.wqkv."),
    (r"\.mlp\.gate_proj\.", ".feed_forward.w1."),
    (r"\.mlp\.up_proj\.", ".feed_forward.w3."),
    (r"\.mlp\.down_proj\.", ".feed_forward.w2."),
    (r"\.input_layernorm\.", ".attention_norm."),
    (r"\.post_attention_layernorm\.", ".ffn_norm."),
)


def _internlm2(key: str, shape: tuple[int, ...], prefixes: Sequence[str], config: Any) -> Source:
    name = key
    for pattern, replacement in _INTERNLM2:
        name = re.sub(pattern, replacement, name)
    if ".attention.wqkv." not in name:
        return Source(_named(prefixes, name, shape))
    num_kv, groups = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    # Of each key/value head: its queries, then its key, then its value.
    place = {"q": slice(0, groups), "k": slice(groups, groups + 1), "v": slice(groups + 1, groups + 2)}
    part = place[key.rpartition("_proj.")[0][-1]]

    def cut(fused: Any) -> Any:
        return fused.reshape(num_kv, groups + 2, head_dim, -1)[:, part].reshape(shape)

    return Source(_named(prefixes, name, ((groups + 2) * num_kv * head_dim, *shape[1:])), cut)


def _named(prefixes: Sequence[str], name: str, shape: tuple[int, ...]) -> Wanted:
    return Wanted(tuple(prefix + name for prefix in prefixes), shape)
