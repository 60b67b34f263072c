"""The packed path against the plain one: transformers' own forward, one sequence at a time."""

import random

import pytest
import torch

from service.types import Probe
from tests.engine.models import CONFIGS, HEAD_WEIGHT_OH, MAX_TOKENS, VOCAB_SIZE, backbone, served
from tests.pairs import encoded, random_group

FP32_TOLERANCE = 2e-5
"""fp32 rounding of a few layers on scores of size 1: another order of the same sums."""


def plain_score(family: str, ids) -> float:
    hidden = backbone(family)(torch.tensor([ids])).last_hidden_state
    return float(hidden[0, -1].detach() @ HEAD_WEIGHT_OH[0])


@pytest.mark.parametrize("family", CONFIGS)
def test_packed_scores_equal_plain_ones(family):
    rng = random.Random(family)
    pairs = [pair for longest in (3, 60, 200) for pair in random_group(rng, 4, VOCAB_SIZE, longest)]
    packed = [reward.score for reward in served(family).score(pairs)]

    assert packed == pytest.approx([plain_score(family, pair.ids) for pair in pairs], abs=FP32_TOLERANCE)


@pytest.mark.parametrize("length", [1, 39, 40, 41, 42, 200])
def test_a_sliding_window_is_honoured_at_its_edges(length):
    rng = random.Random(length)
    ids = [rng.randrange(VOCAB_SIZE) for _ in range(length)]
    pair = encoded(ids[: length // 2], ids[length // 2 :], grid=16)

    assert served("mistral-windowed").score([pair])[0].score == pytest.approx(
        plain_score("mistral-windowed", ids), abs=FP32_TOLERANCE
    )


@pytest.mark.parametrize("length", [1, 2, 17, 100, 255])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_probe_equals_the_last_slot_of_the_fully_padded_row(family, length):
    """The published Starling code: pad to the slot, mask the pads as keys, read the last slot."""
    slot, pad = 256, 0
    rng = random.Random(length)
    ids = [rng.randrange(1, VOCAB_SIZE) for _ in range(length)]
    padded = torch.tensor([ids + [pad] * (slot - length)])
    mask = torch.tensor([[1] * length + [0] * (slot - length)])
    hidden = backbone(family)(padded, attention_mask=mask).last_hidden_state
    expected = float(hidden[0, -1].detach() @ HEAD_WEIGHT_OH[0])

    pair = encoded(ids[: length // 2], ids[length // 2 :], probe=Probe(pad, slot - 1))

    assert served(family).score([pair])[0].score == pytest.approx(expected, abs=FP32_TOLERANCE)


def test_a_pair_of_the_longest_legal_length_is_scored():
    rng = random.Random(0)
    ids = [rng.randrange(VOCAB_SIZE) for _ in range(MAX_TOKENS)]

    assert served("llama").score([encoded(ids[:700], ids[700:], grid=512)])[0].score == pytest.approx(
        plain_score("llama", ids), abs=FP32_TOLERANCE
    )
