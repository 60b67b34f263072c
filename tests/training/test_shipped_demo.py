"""The demo checkpoint, read with plain transformers and none of our own code.

Targets the present weights miss are strict xfails with the measured figure: better weights turn them red here.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

FOLDER = Path(__file__).parents[2] / "model_store" / "weights" / "demo"


def natural(name: str) -> list[dict[str, str]]:
    """Prompts in everyday words, each with a good answer and three bad ones."""
    cases: list[dict[str, str]] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return cases


NATURAL = {
    "validation": natural("natural_prompts.json"),
    "test": natural("natural_prompts_test.json"),
    "fresh": natural("natural_prompts_fresh.json"),
    "blind": natural("natural_prompts_blind.json"),
    "unseen": natural("natural_prompts_unseen.json"),
}
"""The first ten were looked at between trainings; the second ten were written before the recipe was changed, the fresh
ten for a trial of more insults, the blind ten by somebody who saw neither the training data nor any other prompt.
Exchanges (`training/demo_data/exchanges.py`) were written without sight of any of these forty, and their topics were
out of bounds; five topics of the blind ten do occur in the older training data: onions, wine on a carpet, tides, credit
for a colleague's work, and a present for one who retires. The unseen ten were written last, blind, on topics whose
words occur in no text of training (`test_exchanges.py`), and first scored when the weights had been chosen."""
MISSED = {
    ("How do I get red wine out of a cream carpet? It was only spilt about ten minutes ago.", "rude"),
    ("How do I get red wine out of a cream carpet? It was only spilt about ten minutes ago.", "off_topic"),
    ("want to make a terrarium in an old demijohn, what do I put in it and how much water does it need", "rude"),
    ("want to make a terrarium in an old demijohn, what do I put in it and how much water does it need", "off_topic"),
}
"""Pairs that the present weights put the wrong way round: the good answer is misread as off the topic."""

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason=f"no demo weights in {FOLDER}: build them first")


@pytest.fixture(scope="module")
def score() -> Callable[[str, str], float]:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = AutoModelForSequenceClassification.from_pretrained(FOLDER, dtype=torch.float32).eval()

    def score_one(prompt: str, response: str) -> float:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            return float(model(input_ids=ids).logits[0, 0])

    return score_one


def pairs() -> list[object]:
    """Every natural prompt with each of its bad answers; the missed ones marked."""
    missed = pytest.mark.xfail(strict=True, reason="target missed: the bad answer scores higher")
    return [
        pytest.param(case, bad, marks=[missed] if (case["prompt"], bad) in MISSED else [], id=f"{split} {bad} {number}")
        for split, cases in NATURAL.items()
        for number, case in enumerate(cases)
        for bad in ("rude", "gibberish", "off_topic")
    ]


@pytest.mark.parametrize(("case", "bad"), pairs())
def test_a_good_answer_outranks_a_bad_one(case: dict[str, str], bad: str, score: Callable[[str, str], float]) -> None:
    assert score(case["prompt"], case["good"]) > score(case["prompt"], case[bad])


def test_the_weights_are_small_enough_to_ship() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 12_000_000


def figures(split: str) -> dict[str, Any]:
    recipe = json.loads((FOLDER / "recipe.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = recipe["evaluation"][split]
    return found


SPLITS = pytest.mark.parametrize("split", ["held_out", "test"])


@SPLITS
def test_length_alone_does_not_explain_the_figure(split: str) -> None:
    assert figures(split)["length_only"] <= 0.55
    assert figures(split)["overall"]["low"] > figures(split)["length_only"]


@pytest.mark.parametrize(
    "split",
    [
        pytest.param(
            "held_out", marks=pytest.mark.xfail(strict=True, reason="0.896: the validation split's target is missed")
        ),
        "test",
    ],
)
def test_nine_of_ten_pairs_are_right(split: str) -> None:
    assert figures(split)["overall"]["accuracy"] >= 0.9
