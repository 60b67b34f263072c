"""A folder without a manifest: what is guessed is said wherever it is met, and it scores as transformers does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForSequenceClassification

from service.cli import cli
from service.types import Conversation, Message
from tests.catalogue import toy_tokenizers as toys
from tests.end_to_end.conftest import outcomes, serving
from tests.model_store.tiny_checkpoints import build

SURENESS = "in all: unsure: BOS, limits; likely: chat template, score, user text; sure: head, readout, dtype"
"""Gemma's template writes BOS and its tokenizer may add one, too."""

TOLERANCE = 2e-5
"""Another order of fp32 sums."""


@pytest.fixture(scope="module")
def gemma3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequence classifier as transformers saves it, over Gemma-3's text model."""
    folder = tmp_path_factory.mktemp("gemma3")
    build("gemma3_text", vocab_size=3000, pad_token_id=0).save_pretrained(folder)
    toys.gemma(folder)
    return folder


def test_show_says_how_sure_the_guess_is(gemma3: Path) -> None:
    shown = CliRunner().invoke(cli, ["models", "show", str(gemma3)])

    assert shown.exit_code == 0
    assert f"guessed        {SURENESS}" in shown.output
    assert "guessed        readout: the rightmost token that is not pad_token_id 0 (sure: " in shown.output


def test_add_says_so_too_and_the_folder_keeps_it(gemma3: Path, tmp_path: Path) -> None:
    added = CliRunner().invoke(cli, ["models", "add", str(gemma3), str(tmp_path / "own")])
    shown = CliRunner().invoke(cli, ["models", "show", str(tmp_path / "own")])

    assert f"guessed {SURENESS}" in added.output
    assert f"guessed        {SURENESS}" in shown.output


async def test_a_served_guess_says_so_and_scores_as_transformers_own_class(gemma3: Path) -> None:
    prompt, response = "Why does the sea rise twice a day?", "The moon pulls it."
    async with serving(gemma3, dtype="float32", chunk_tokens=16, max_frame_tokens=64) as model:
        [outcome] = await outcomes(model, [Conversation((Message("user", prompt),), response)])
        details = model.card.details

    text = f"<bos><start_of_turn>user\n{prompt}<end_of_turn>\n<start_of_turn>model\n{response}<end_of_turn>\n"
    ids = toys.tokenizer(gemma3).encode(text, add_special_tokens=False).ids
    reference = AutoModelForSequenceClassification.from_pretrained(gemma3, dtype="float32")
    with torch.inference_mode():
        expected = float(reference(input_ids=torch.tensor([ids])).logits[0, 0])
    assert outcome.reward is not None
    assert abs(outcome.reward.score - expected) < TOLERANCE
    assert (details["sureness"], details["family"]) == (SURENESS, "gemma3_text")
    assert details["guesses"].startswith("head: score.weight without a bias (sure: config.json names one label")
