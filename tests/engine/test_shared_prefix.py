"""Chunks far behind a prompt attend to it together and to themselves apart: the same bits as alone, the same values."""

import random
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from service.engine import shared_prefix, spans
from service.engine.key_values import KeyValues
from service.engine.lanes import Lanes
from service.engine.prefix_slots import PrefixSlots
from service.engine.spans import FAR_BEHIND, ChunkSpan, FrameLayout
from tests.engine.models import VOCAB_SIZE, served
from tests.engine.test_kept_prefix_bits import Counter, alone, mixed_pairs, score_some
from tests.engine.test_oracle import FP32_TOLERANCE, plain_score
from tests.pairs import encoded

FULL_ATTENTION = ("llama", "qwen2", "qwen3")
"""Without and with shared key/value heads, without and with norms of queries and keys."""


def long_group(seed: int, num_responses: int):
    rng = random.Random(seed)
    prompt = [rng.randrange(VOCAB_SIZE) for _ in range(rng.randint(FAR_BEHIND, FAR_BEHIND + 60))]
    lengths = [rng.choice((1, 2, 3, 15, 16, 17, 33, 50)) for _ in range(num_responses)]
    return [encoded(prompt, [rng.randrange(VOCAB_SIZE) for _ in range(length)]) for length in lengths]


@pytest.fixture
def near_is_far(monkeypatch):
    """Every chunk that continues another is split, so that short pairs have many."""
    monkeypatch.setattr(spans, "FAR_BEHIND", 1)


@pytest.mark.parametrize("family", FULL_ATTENTION)
def test_a_long_prompts_responses_score_together_as_alone_and_as_plain(family):
    model = served(family)
    pairs = [*long_group(1, 7), *long_group(2, 4)]
    expected = alone(model, pairs)

    assert model.engine._joins_siblings
    assert Counter(model).score(pairs) == expected
    assert Counter(model).score(pairs[::-1]) == expected[::-1]
    assert expected == pytest.approx([plain_score(family, pair.ids) for pair in pairs], abs=FP32_TOLERANCE)


@pytest.mark.usefixtures("near_is_far", "emptied")
def test_however_chunks_are_batched_kept_or_recomputed_they_give_the_same_bits(model):
    pairs = mixed_pairs(seed=11, num_pairs=40)
    rng = random.Random(12)
    expected = alone(model, pairs)
    counter = Counter(model, budget=192, capacity=400)

    for _ in range(6):
        score_some(counter, pairs, expected, rng)


@pytest.mark.usefixtures("near_is_far")
@pytest.mark.parametrize("family", FULL_ATTENTION)
def test_joined_or_not_the_bits_are_the_same(family, monkeypatch):
    """So whether siblings are joined need not be told in the numeric mode."""
    model = served(family)
    pairs = mixed_pairs(seed=13, num_pairs=20)
    joined = Counter(model).score(pairs)
    monkeypatch.setattr(model.engine, "_joins_siblings", False)

    assert Counter(model).score(pairs) == joined


@pytest.mark.parametrize("num_key_value_heads", [2, 6])
@pytest.mark.parametrize("num_rows", [96, 41])
def test_the_halves_put_together_are_plain_attention(num_key_value_heads, num_rows):
    """Of 41 rows the last whole blocks begin before the chunks do: from these on there are too few."""
    generator = torch.Generator().manual_seed(num_rows)
    query = torch.randn(1, 6, num_rows, 32, generator=generator)
    key, value = (torch.randn(1, num_key_value_heads, num_rows, 32, generator=generator) for _ in range(2))
    before = ((0, 7), (11, 24))
    chunks = [ChunkSpan(*bound, 20, before) for bound in ((24, 25), (25, 28), (28, 41))]
    output = torch.zeros(1, num_rows, 6, 32)

    shared_prefix.attend_siblings(query, KeyValues(key, value, PrefixSlots(1), 0, 6), chunks, output, scaling=0.3)

    for chunk in chunks:
        seen = [row for start, stop in (*before, (chunk.start, chunk.stop)) for row in range(start, stop)]
        for row in range(chunk.start, chunk.stop):
            rows = [each for each in seen if each <= row]
            expected = F.scaled_dot_product_attention(
                query[:, :, row : row + 1], key[:, :, rows], value[:, :, rows], scale=0.3, enable_gqa=True
            )
            # Values of size 1, summed in another order.
            torch.testing.assert_close(output[:, row], expected[:, :, 0], rtol=0, atol=2e-6)
    assert not output[:, :24].any()
    assert not output[:, 41:].any()


def test_a_machine_whose_rows_depend_on_their_block_joins_nothing(monkeypatch):
    assert shared_prefix.joins_bits(6, 32)
    kernel = shared_prefix._attention

    def other_bits_in_large_blocks(query, *rest, **options):
        attended, log_sums = kernel(query, *rest, **options)
        return (attended * (1 + 1e-6) if query.shape[2] > 200 else attended), log_sums

    monkeypatch.setattr(shared_prefix, "_attention", other_bits_in_large_blocks)
    assert not shared_prefix.joins_bits(6, 32)


def test_nothing_is_joined_where_threads_share_an_operation():
    """Layers that are not ours run on both threads: where these part the rows would depend on how many there are."""
    assert served("llama").engine._joins_siblings
    assert not served("gemma3").engine._joins_siblings


def families(chunks, *, joins=True):
    layout = FrameLayout(chunks, chunks[-1].stop, PrefixSlots(1), Lanes(1), joins_siblings=joins)
    return [[chunk.start for chunk in family] for family in layout.far_families]


def test_siblings_are_far_chunks_that_lie_end_to_end_and_continue_the_same():
    starts = [0, 600, 610, 650, 660, 700, 710]
    before = [(), ((0, 600),), ((0, 600),), ((0, 600), (610, 650)), ((0, 600),), (), ()]
    slots = [(), (), (), (), (), (3, 4), (3, 4)]
    num_before = [0, 600, 600, 640, 600, 512, 512]
    chunks = [
        ChunkSpan(*bound, *rest)
        for bound, *rest in zip(pairwise([*starts, 720]), num_before, before, slots, strict=True)
    ]

    assert families(chunks) == [[600, 610], [650], [660], [700, 710]]
    assert families(chunks, joins=False) == [[600], [610], [650], [660], [700], [710]]


def test_near_and_blind_chunks_are_left_to_the_masks():
    near = ChunkSpan(0, 10, FAR_BEHIND - 1, slots=(1,))
    blind = ChunkSpan(10, 11, FAR_BEHIND + 9, slots=(1, 2), sees_itself=False)

    assert families([near, blind]) == []


def test_half_precision_and_accelerators_split_nothing():
    assert shared_prefix.is_for(torch.device("cpu"), torch.float32)
    assert not shared_prefix.is_for(torch.device("cpu"), torch.bfloat16)
    assert not shared_prefix.is_for(torch.device("cuda"), torch.float32)


def test_the_numeric_mode_says_that_chunks_are_split():
    assert served("llama").engine.info().numeric_mode["attention"] == "reward_frames, split behind 512"
    assert served("llama", torch.bfloat16).engine.info().numeric_mode["attention"] == "reward_frames"
