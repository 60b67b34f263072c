"""The model that ships: it loads as its manifest says, and tells good answers from bad ones on unseen prompts."""

import pytest

from model_store import catalogue
from model_store.integrity import hash_folder
from model_store.sources import SHIPPED
from service.types import Conversation, Message
from tests.end_to_end.conftest import scores, serving
from tests.training.test_shipped_demo import MISSED, NATURAL

PROMPTS = [row for rows in NATURAL.values() for row in rows]
MAX_WEIGHT_BYTES = 12 * 2**20


async def test_a_good_answer_outranks_a_rude_a_gibberish_and_an_off_topic_one():
    """Five times ten prompts whose wording is not in the training data, nor are their topics but for five of the fourth
    ten. The target is every pair; what the weights miss is named, so that better ones must say so here."""
    assert len(PROMPTS) == 50
    kinds = ("good", "rude", "gibberish", "off_topic")
    wrong = set()
    async with serving("demo") as model:
        for row in PROMPTS:
            prompt = (Message("user", row["prompt"]),)
            good, *bad = await scores(model, [Conversation(prompt, row[kind]) for kind in kinds])
            wrong |= {(row["prompt"], kind) for kind, score in zip(kinds[1:], bad, strict=True) if score >= good}

    assert wrong == MISSED


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
async def test_the_golden_pairs_agree_in_each_dtype(dtype):
    async with serving("demo", dtype=dtype) as model:
        checks = await model.verify()

        assert len(checks) == len(catalogue.find("demo").golden.pairs) > 0
        assert [check for check in checks if not check.is_ok] == []
        assert model.card.is_verified


def test_the_manifest_pins_every_file_and_records_recipe_seed_and_figures():
    manifest = catalogue.find("demo")

    assert manifest.files == hash_folder(SHIPPED / "demo")
    assert {"recipe", "seed", "data", "accuracy_held_out", "accuracy_nectar_dev"} <= set(manifest.notes)


def test_the_weights_are_small_enough_to_live_in_the_repository():
    assert (SHIPPED / "demo" / "model.safetensors").stat().st_size <= MAX_WEIGHT_BYTES
