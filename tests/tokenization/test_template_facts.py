"""Markers, headers and closings as ids, learnt from what a template writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tokenization import tiny_tokenizers as tiny


def _texts(folder: Path, sequences: tuple[tuple[int, ...], ...]) -> list[str]:
    return [tiny.raw(folder).decode(list(ids), skip_special_tokens=False) for ids in sequences]


def test_the_parts_of_chatml_are_found_without_a_manifest(chatml: Path) -> None:
    facts = tiny.encoder(chatml).facts

    assert _texts(chatml, facts.markers) == ["<|im_start|>assistant\n"]
    assert facts.headers == facts.markers
    assert _texts(chatml, facts.closings) == ["<|im_end|>", "<|im_end|>\n"]
    assert facts.writes_bos is False


def test_a_template_that_shows_no_opening_has_no_marker_and_is_cut_on_the_grid(llama2: Path) -> None:
    encoder = tiny.encoder(llama2, chunk_tokens=4)

    assert encoder.facts.markers == ()
    assert encoder.encode(tiny.say("What is a tide?")).cuts == (0, 4, 8, 12)
    assert encoder.facts.writes_bos is True


def test_each_id_sequence_of_a_marker_is_found(llama2: Path) -> None:
    """The marker's first character merges with what stands before it: a space or nothing."""
    jinja = "{% for m in messages %}{{ m.content }}{{ ' [/INST] ' if m.role == 'user' and m.content[-1] in '.?' else "
    jinja += "'[/INST] ' if m.role == 'user' else eos_token }}{% endfor %}"
    facts = tiny.encoder(llama2, jinja=jinja, cut_after=("[/INST]",)).facts

    assert len(facts.markers) > 1
    assert {text.strip() for text in _texts(llama2, facts.markers)} == {"[/INST]"}


def test_the_header_reaches_from_the_marker_to_the_response(chatml: Path) -> None:
    facts = tiny.encoder(chatml, cut_after=("<|im_start|>",)).facts

    assert _texts(chatml, facts.markers) == ["<|im_start|>"]
    assert _texts(chatml, facts.headers) == ["<|im_start|>assistant\n"]


def test_what_is_only_offered_for_generating_opens_no_turn(chatml: Path) -> None:
    jinja = tiny.CHATML.replace(
        "{% if add_generation_prompt %}<|im_start|>assistant\n",
        "{% if add_generation_prompt %}<|im_start|>assistant\nHm:",
    )

    assert _texts(chatml, tiny.encoder(chatml, jinja=jinja).facts.markers) == ["<|im_start|>assistant\n"]


def test_a_marker_whose_end_always_merges_is_cut_before_the_merge(llama2: Path) -> None:
    jinja = "{% for m in messages %}{{ 'Q: ' if m.role == 'user' else '\nA: ' }}{{ m.content }}{% endfor %}"
    facts = tiny.encoder(llama2, jinja=jinja, cut_after=("A: ",)).facts

    assert {text.strip() for text in _texts(llama2, facts.markers)} <= {"A", "A:", ":"}
    assert facts.markers


@pytest.mark.parametrize("eos", ["</s>", None])
def test_a_template_that_closes_nothing_has_no_closing_but_eos(llama2: Path, tmp_path: Path, eos: str | None) -> None:
    folder = tiny.write_llama2(tmp_path)
    config = {
        "bos_token": "<s>",
        "eos_token": eos,
        "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    facts = tiny.encoder(folder).facts

    assert facts.closings == (((2,),) if eos else ())
    assert facts.has_ended((5, 2)) is bool(eos)
