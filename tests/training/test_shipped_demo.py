"""The checkpoint that ships with the project, read with plain transformers and none of our own code."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

FOLDER = Path(__file__).parents[2] / "model_store" / "weights" / "demo"
NATURAL = json.loads(Path(__file__).with_name("natural_prompts.json").read_text(encoding="utf-8"))


def score(prompt: str, response: str) -> float:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    text = TOKENIZER.apply_chat_template(messages, tokenize=False)
    ids = TOKENIZER(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        return float(MODEL(input_ids=ids).logits[0, 0])


TOKENIZER = AutoTokenizer.from_pretrained(FOLDER)
MODEL = AutoModelForSequenceClassification.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.mark.parametrize("case", NATURAL, ids=lambda case: case["prompt"][:30])
@pytest.mark.parametrize("bad", ["rude", "gibberish", "off_topic"])
def test_a_good_answer_outranks_a_bad_one(case: dict[str, str], bad: str) -> None:
    assert score(case["prompt"], case["good"]) > score(case["prompt"], case[bad])


def test_the_weights_are_small_enough_to_ship() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 12_000_000


def test_the_recipe_states_the_held_out_accuracy() -> None:
    held_out = json.loads((FOLDER / "recipe.json").read_text(encoding="utf-8"))["evaluation"]["held_out"]

    assert held_out["overall"]["accuracy"] >= 0.9
    assert held_out["length_only"] <= 0.55
