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
}
"""The first ten were looked at between trainings; the second ten were written before the recipe was changed. A recipe
that answered to what those showed (more sorts of insults) was tried and not kept. The fresh ten were written for that
trial, after the weights that ship. The blind ten were written by somebody who saw neither the training data nor any
other prompt; five of their topics do occur in training: onions, wine on a carpet, tides, credit for a colleague's work,
and a present for one who retires."""
MISSED = {
    ("How do I get red wine out of a cream carpet? It was only spilt about ten minutes ago.", "rude"),
    ("How do I get red wine out of a cream carpet? It was only spilt about ten minutes ago.", "off_topic"),
    ("How often should I be feeding my sourdough starter if I only bake at weekends?", "rude"),
    (
        "My boss is retiring after thirty years and I've been put in charge of the present. Any ideas for around £100?",
        "rude",
    ),
    (
        "I moved to Leeds for work three months ago and I still don't know anybody. "
        "The evenings are getting really lonely.",
        "rude",
    ),
    ("Can you suggest a cheap dinner for four that has no meat and takes less than half an hour?", "rude"),
    ("Please write an invitation to my daughter's seventh birthday party on Saturday at three.", "rude"),
    ("Write a polite email asking my landlord to repair the broken boiler.", "rude"),
}
"""Pairs that the present weights put the wrong way round: the good answer uses few of the question's words."""

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
            "held_out", marks=pytest.mark.xfail(strict=True, reason="0.895: the validation split's target is missed")
        ),
        "test",
    ],
)
def test_nine_of_ten_pairs_are_right(split: str) -> None:
    assert figures(split)["overall"]["accuracy"] >= 0.9
