"""Configs: what the packed attention would ignore is refused by name and value, and nothing else is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from model_store.errors import UnsupportedModel
from model_store.families import FAMILIES, check_config
from tests.model_store.tiny_checkpoints import VARIANTS, build


def config(family: str = "llama", **fields: Any) -> Any:
    return CONFIG_MAPPING[family].from_dict({"max_position_embeddings": 128, **fields})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_default_config_is_allowed(family: str) -> None:
    check_config(config(family))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_tested_variant_is_allowed(variant: str) -> None:
    check_config(build(variant).config)


@pytest.mark.parametrize("family", ["phi3", "mixtral", "bert"])
def test_another_family_is_refused(family: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"model_type is '{family}'; allowed: llama, mistral, qwen2, qwen3"):
        check_config(SimpleNamespace(model_type=family))


def test_gemma_3_with_images_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(UnsupportedModel, match="model_type is 'gemma3'; allowed: gemma3_text; this one also reads im"):
        check_config(SimpleNamespace(model_type="gemma3"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (config("gemma3_text", attn_logit_softcapping=50.0), "attn_logit_softcapping is 50.0, which is not honoured"),
        (config("gemma3_text", use_bidirectional_attention=True), "use_bidirectional_attention is True"),
        (config(attn_logit_softcapping=50.0), "attn_logit_softcapping is 50.0, which is not honoured"),
        (config(attention_chunk_size=8192), "attention_chunk_size is 8192, which is not honoured"),
        (config(use_bidirectional_attention=True), "use_bidirectional_attention is True"),
        (config(alibi=True), "alibi is True"),
        (config(is_causal=False), "is_causal is False"),
        (config(pad_token_id=32000, vocab_size=32000), "pad_token_id is 32000; allowed: below vocab_size (32000)"),
        (config(sliding_window=8), "sliding_window is 8, which llama layers do not read"),
        (config("mistral", sliding_window=0), "sliding_window is 0; allowed: 1 and up"),
        (config(partial_rotary_factor=0.5), "partial_rotary_factor is 0.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_that_would_be_ignored_is_refused_by_name_and_value(given: Any, words: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        check_config(given)

    assert words in str(caught.value)


def test_a_quantized_model_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"quantization_config is {'bits': 4}"):
        check_config(config(quantization_config={"bits": 4}))


@pytest.mark.parametrize(
    "fields",
    [
        {"attention_dropout": 0.1},
        {"attn_logit_softcapping": None},
        {"pretraining_tp": 2},
        {"attention_bias": True, "mlp_bias": True},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    ],
    ids=str,
)
def test_a_field_that_is_honoured_or_idle_is_allowed(fields: dict[str, Any]) -> None:
    check_config(config(**fields))


@pytest.mark.parametrize(
    ("family", "window", "layer_types", "is_allowed"),
    [
        ("qwen2", 8, ["full_attention", "sliding_attention"], True),
        ("qwen3", 8, ["sliding_attention"] * 2, True),
        ("qwen2", None, ["full_attention"] * 2, True),
        ("qwen2", None, ["full_attention", "sliding_attention"], False),
        ("qwen2", 8, ["full_attention", "chunked_attention"], False),
        ("mistral", 8, ["sliding_attention"] * 2, True),
        ("mistral", 8, ["full_attention", "sliding_attention"], False),
        ("mistral", None, ["full_attention"] * 2, True),
        ("llama", None, ["sliding_attention"], False),
        ("gemma3_text", 8, ["sliding_attention", "full_attention"], True),
        ("gemma3_text", None, ["sliding_attention", "full_attention"], False),
    ],
)
def test_layer_types_are_allowed_where_the_familys_layers_read_them(
    family: str, window: int | None, layer_types: list[str], is_allowed: bool
) -> None:
    # A plain stand-in: transformers itself refuses some of these, in some versions.
    given = SimpleNamespace(model_type=family, sliding_window=window, layer_types=layer_types)

    if is_allowed:
        check_config(given)
    else:
        with pytest.raises(UnsupportedModel, match="layer_types holds"):
            check_config(given)


def rope(rope_type: str, **parameters: Any) -> Any:
    """A stand-in config of 128 positions."""
    return SimpleNamespace(
        model_type="llama", max_position_embeddings=128, rope_parameters={"rope_type": rope_type, **parameters}
    )


@pytest.mark.parametrize(
    ("given", "original_tokens"),
    [
        (rope("dynamic", factor=2.0), 128),
        (rope("longrope", original_max_position_embeddings=64), 64),
        (rope("dynamic", original_max_position_embeddings=512), 128),
    ],
    ids=["dynamic", "longrope", "dynamic-with-original"],
)
def test_rope_that_depends_on_the_longest_companion_is_allowed_up_to_the_original_length_only(
    given: Any, original_tokens: int
) -> None:
    check_config(given, max_tokens=original_tokens)
    for max_tokens in (None, original_tokens + 1):
        with pytest.raises(UnsupportedModel, match=f"limits.max_tokens of at most {original_tokens}"):
            check_config(given, max_tokens=max_tokens)


def test_dynamic_rope_written_in_the_old_way_is_refused() -> None:
    given = CONFIG_MAPPING["llama"].from_dict({"rope_scaling": {"type": "dynamic", "factor": 2.0}})

    with pytest.raises(UnsupportedModel, match="rope_type is 'dynamic'"):
        check_config(given)


def test_an_unknown_rope_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="rope_type is 'spiral'; allowed: default, linear, llama3, yarn"):
        check_config(rope("spiral"))


def test_one_rope_for_each_kind_of_layer_is_refused() -> None:
    given = rope("default", sliding_attention={"rope_type": "default"})

    with pytest.raises(UnsupportedModel, match=r"one rotary embedding for each of \['sliding_attention'\]"):
        check_config(given)


def several_ropes(full: dict[str, Any]) -> Any:
    rope_parameters = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}, "full_attention": full}
    return config("gemma3_text", rope_parameters=rope_parameters)


def test_gemma_3_may_have_a_rope_for_each_kind_of_layer_and_each_is_looked_at() -> None:
    check_config(several_ropes({"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}))
    with pytest.raises(UnsupportedModel, match="rope_type is 'dynamic'"):
        check_config(several_ropes({"rope_type": "dynamic", "rope_theta": 1e6, "factor": 8.0}))


def test_all_complaints_are_named_at_once() -> None:
    with pytest.raises(UnsupportedModel, match=r"alibi is True.*; is_causal is False"):
        check_config(config(alibi=True, is_causal=False))
