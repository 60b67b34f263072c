"""Catalogue entries on the real path: gates and steps from frames and cache, whole pairs, golden pairs refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.cli import cli
from service.types import Conversation, Message
from tests.catalogue import head_references, more_references, starling_reference, step_references
from tests.catalogue import reference as ref
from tests.catalogue.reference import Reference
from tests.end_to_end.conftest import outcomes, serving
from tests.tokenization.tiny_tokenizers import vocab_size, write_llama2

pytestmark = pytest.mark.long

TOLERANCE = 2e-5
"""Another order of fp32 sums."""

PROMPT = " ".join(["Why does the sea rise twice a day?"] * 60)
RESPONSES = ("The moon pulls it.\n\nTwice a day.", "No.", "It is the wind.\n\nAnd the sun.")


def reference_of(entry: str, references: Sequence[Reference]) -> Reference:
    return next(reference for reference in references if entry in reference.entries)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {"weights": tmp_path, "dtype": "float32", "chunk_tokens": 128, "max_frame_tokens": 512}


@pytest.mark.parametrize(
    ("entry", "references"),
    [
        ("armorm-llama3-8b-v0.1", head_references.REFERENCES),
        ("qwen2.5-math-prm-7b", step_references.REFERENCES),
        ("skywork-o1-open-prm-qwen-2.5-7b", step_references.REFERENCES),
        ("athene-rm-8b", more_references.REFERENCES),
        ("reward-model-deberta-v3-large-v2", head_references.REFERENCES),
    ],
)
async def test_a_served_entry_scores_as_its_reference_first_and_from_the_cache(
    tmp_path: Path, settings: dict[str, Any], entry: str, references: Sequence[Reference]
) -> None:
    reference = reference_of(entry, references)
    state, toy = ref.folder_of(reference, tmp_path)
    # DeBERTa's 512 positions hold a shorter prompt.
    prompt = PROMPT if reference.positions > 512 else PROMPT[:400]
    pairs = [Conversation((Message("user", prompt),), response) for response in RESPONSES]

    async with serving(entry, **settings) as model:
        first = await outcomes(model, pairs)
        again = await outcomes(model, pairs)
        objectives = model.card.engine.objectives

    for response, outcome in zip(RESPONSES, first, strict=True):
        assert outcome.error is None
        assert outcome.reward is not None
        ids = reference.ids(toy, (("user", prompt), ("assistant", response)))
        expected = reference.score(state, ids, reference.vocab_size)
        assert abs(outcome.reward.score - expected) < TOLERANCE
        assert len(outcome.reward.objectives) == len(objectives)
        if reference.steps is not None:
            steps = reference.steps(state, ids, reference.vocab_size)
            assert outcome.reward.steps == pytest.approx(steps, abs=TOLERANCE)
    assert [outcome.reward for outcome in again] == [outcome.reward for outcome in first]


def test_verify_says_how_a_stand_in_differs_from_the_printed_scores(tmp_path: Path) -> None:
    write_llama2(tmp_path)
    starling_reference.write_7b(tmp_path, vocab_size(tmp_path))
    command = ["models", "verify", "starling-rm-7b-alpha", "--weights", str(tmp_path), "--dtype", "float32"]

    verified = CliRunner().invoke(cli, [*command, "--max-frame-tokens", "256", "--device", "cpu"])

    assert verified.exit_code == 1
    verdicts = [line for line in verified.output.splitlines() if line.startswith("DIFFERS")]
    assert [line.split("expected ")[1].split()[0] for line in verdicts] == ["-3.4342", "-6.9198", "-2.9891"]
    assert all("within 0.01, got " in line for line in verdicts)
