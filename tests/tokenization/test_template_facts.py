"""Markers, headers and closings as ids, learnt from what a template writes."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path

import pytest

from service.tokenization.rendering import Rendering
from service.tokenization.samples import Sample
from service.tokenization.template_facts import TemplateFacts, learn_template
from service.tokenization.tokenized import TokenizedText
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


def _sample(text: str, pieces: list[str], response_at: int) -> Sample:
    """A sample made by hand: each piece is a token, its id is that of its first character."""
    ends = list(accumulate(len(piece) for piece in pieces))
    spans = list(zip([0, *ends], ends, strict=False))
    tokens = TokenizedText(tuple(ord(piece[0]) + len(piece) for piece in pieces), spans)
    return Sample(Rendering(text, text, response_at), tokens, response_at, len(text), "")


def _learn(samples: list[Sample], *cut_after: str) -> TemplateFacts:
    return learn_template(
        samples, cut_after=cut_after or ("A:",), disguise=str, control_ids=frozenset(), bos_text=None, eos_id=None
    )


WHOLE = _sample("qA:x", ["q", "A:", "x"], 3)
MERGED = _sample("qA:(", ["q", "A", ":("], 3)


def test_a_part_of_a_marker_is_not_cut_after_where_whole_ones_exist() -> None:
    assert _learn([WHOLE, MERGED]).markers == (WHOLE.tokens.ids[1:2],)


def test_a_marker_whose_end_always_merges_is_cut_before_the_merge() -> None:
    assert _learn([MERGED]).markers == (MERGED.tokens.ids[1:2],)


def test_the_header_is_that_of_the_turn_that_is_scored() -> None:
    sample = _sample("B:xA:y", ["B:", "x", "A:", "y"], 5)

    assert _learn([sample], "A:", "B:").headers == (sample.tokens.ids[2:3],)


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
