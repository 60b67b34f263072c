"""Which transformers families can be served, and which of their config fields would be silently ignored.

Our packed attention replaces transformers' own, so a field that lives in the attention or in its mask has no
effect unless our attention honours it; scores would then be wrong by whole points (soft-capping, windows) and
nothing would say so. Hence: a family is on the list after its layers were read, and fields that nothing
honours are refused by name. Sliding windows are honoured: each layer hands its own to the attention. Dropout
is not looked at: it is off when scoring.

Reads configs by attribute only: no torch, no transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model_store.errors import UnsupportedModel

PACKED_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
"""transformers' `model_type` of the backbones whose every layer was read (5.17 and 5.23; Gemma-3 in 5.23)."""

PLAIN_FAMILIES: Mapping[str, str] = {"deberta-v2": "eager", "gemma2": "eager", "gpt_neox": "sdpa"}
"""Backbones that take one whole pair a forward, and the attention of transformers' own that does all they ask:
DeBERTa is an encoder, Gemma-2 caps its attention's logits, GPT-NeoX fuses its projections. Slower, and as exact."""

FAMILIES = (*PACKED_FAMILIES, *PLAIN_FAMILIES)
"""All that can be served."""

INSTEAD_OF: Mapping[str, str] = {"gemma3": "gemma3_text; this one also reads images, save its text model by itself"}
"""Families that are easily taken for one that can be served, and what to do."""

FAMILIES_WITH_SEVERAL_ROPES = ("gemma3_text",)
"""Their layers each take the rotary embedding of their kind (`layer_types`)."""

ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose frequencies depend on the config alone."""

LENGTH_DEPENDENT_ROPE_TYPES = ("dynamic", "longrope")
"""Their frequencies change once the largest position of a whole frame passes the original length: a long
companion would move a short pair's score (by 6.5e-3 in hidden states, measured on `dynamic`)."""

_WINDOWED = ("gemma3_text", "mistral", "qwen2", "qwen3")
_NEUTRAL = (None, False, 0, 0.0)

_NEVER_HONOURED = (
    "attn_logit_softcapping",
    "attention_chunk_size",
    "use_bidirectional_attention",
    "alibi",
    "quantization_config",
)
"""Fields that none of the packed families read and that other models' attention or weights depend on."""

_NEVER_HONOURED_PLAIN = ("quantization_config", "type_vocab_size")
"""The same for the plain path: weights that need arithmetic of their own, and token types, which nobody hands over."""


def is_packed(family: str) -> bool:
    """Whether pairs of this family are cut into chunks and share frames; else each is one chunk and one forward."""
    return family in PACKED_FAMILIES


def plain_attention(family: str) -> str:
    """The attention that a family is loaded with: its own on the plain path, `sdpa` until ours takes its place."""
    return PLAIN_FAMILIES.get(family, "sdpa")


def check_config(config: Any, *, max_tokens: int | None = None) -> None:
    """Checks that everything the config asks for is honoured by the path that its family takes.

    Args:
        config: A transformers config (attributes are read, nothing is changed).
        max_tokens: The longest pair that will ever be scored, if that is capped explicitly.

    Raises:
        UnsupportedModel: Naming the fields, their values and what is allowed.
    """
    if complaints := list(_complaints(config, max_tokens)):
        raise UnsupportedModel("config.json: " + "; ".join(complaints))


def _complaints(config: Any, max_tokens: int | None) -> Iterator[str]:
    family = getattr(config, "model_type", None)
    if family not in FAMILIES:
        yield f"model_type is {family!r}; allowed: {INSTEAD_OF.get(str(family)) or ', '.join(FAMILIES)}"
        return
    for name in _NEVER_HONOURED if is_packed(family) else _NEVER_HONOURED_PLAIN:
        if (value := getattr(config, name, None)) not in _NEUTRAL:
            yield f"{name} is {value!r}, which is not honoured; allowed: none"
    if getattr(config, "is_causal", True) is False:
        yield "is_causal is False, which is not honoured; allowed: True"
    yield from _padding(config)
    if is_packed(family):
        yield from _windows(config, family)
    yield from _rope(config, max_tokens)


def _padding(config: Any) -> Iterator[str]:
    # The embedding refuses such an id by an assertion; it means that config and weights are of two models.
    pad_id, vocab_size = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if pad_id is not None and vocab_size is not None and pad_id >= vocab_size:
        yield f"pad_token_id is {pad_id}; allowed: below vocab_size ({vocab_size})"


def _windows(config: Any, family: str) -> Iterator[str]:
    window = getattr(config, "sliding_window", None)
    if window is not None and family not in _WINDOWED:
        yield f"sliding_window is {window!r}, which {family} layers do not read; allowed: none"
    if window is not None and window < 1:
        yield f"sliding_window is {window!r}; allowed: 1 and up, or none"
    layer_types = set(getattr(config, "layer_types", None) or ())
    if unread := layer_types - _layer_types_read(family, has_window=window is not None):
        word = "with" if window is not None else "without"
        yield f"layer_types holds {sorted(unread)}, which {family} {word} a sliding window does not read"


def _layer_types_read(family: str, *, has_window: bool) -> set[str]:
    if not has_window:
        return {"full_attention"}
    # Mistral's layers share one window, whatever their types say; Qwen's each look at their own type.
    return {"sliding_attention"} if family == "mistral" else {"sliding_attention", "full_attention"}


def _rope(config: Any, max_tokens: int | None) -> Iterator[str]:
    rope: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
    nested = sorted(key for key, value in rope.items() if isinstance(value, Mapping))
    if nested and config.model_type not in FAMILIES_WITH_SEVERAL_ROPES:
        yield f"rope_parameters holds one rotary embedding for each of {nested}; allowed: one for all layers"
        return
    for parameters in [rope[key] for key in nested] or [rope]:
        yield from _one_rope(config, parameters, max_tokens)


def _one_rope(config: Any, rope: Mapping[str, Any], max_tokens: int | None) -> Iterator[str]:
    rope_type = rope.get("rope_type", "default")
    if rope_type in LENGTH_DEPENDENT_ROPE_TYPES:
        original_tokens = _original_tokens(config, rope)
        if max_tokens is None or max_tokens > original_tokens:
            yield (
                f"rope_type is {rope_type!r}, whose values depend on the longest companion; allowed: "
                f"{', '.join(ROPE_TYPES)}, or limits.max_tokens of at most {original_tokens} in the manifest"
                f" (it is {max_tokens})"
            )
    elif rope_type not in ROPE_TYPES:
        yield f"rope_type is {rope_type!r}; allowed: {', '.join(ROPE_TYPES)}"
    factor = rope.get("partial_rotary_factor", 1.0)
    if factor not in (None, 1.0) and is_packed(config.model_type):
        yield f"partial_rotary_factor is {factor!r}, which these families do not read; allowed: 1.0"


def _original_tokens(config: Any, rope: Mapping[str, Any]) -> int:
    max_tokens: int = config.max_position_embeddings
    return min(max_tokens, rope.get("original_max_position_embeddings") or max_tokens)
