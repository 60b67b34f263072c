"""Our own layers against transformers', packed against plain, pruned against whole; and where they are not used."""

import random

import pytest
import torch
from torch import nn
from transformers import AutoModel, LlamaConfig

from service.engine import decoder_layer, packed_linear
from service.engine.layer_parts import PackedParts, PlainParts
from service.engine.torch_engine import TorchEngine
from service.scheduling.packing import FrameBuilder
from tests.engine.models import CONFIGS, DTYPES, OPTIONS, SHAPE, Served, backbone, head, served
from tests.engine.test_kept_prefix_bits import mixed_pairs
from tests.pairs import job

ROUNDING = {torch.float32: 2e-5, torch.bfloat16: 0.25}
"""Scores have a spread of about 1. Sums in another order move them by 1e-6 in fp32, and by up to 0.1 in bf16."""


KNOWN = [family for family in CONFIGS if family != "gemma3"]
"""Gemma-3's layers keep their own forward."""


def frame_of(pairs, explain=False):
    builder = FrameBuilder(1024)
    for number, pair in enumerate(pairs):
        assert builder.try_add(job(number, pair, explain=explain))
    return builder.build().frame


def scores(rewards):
    return [reward.score for reward in rewards]


def all_rows(engine: TorchEngine, frame):
    """The same engine, told to compute every row of its last layer."""
    linear, engine._linear = engine._linear, None
    try:
        return engine.run(frame)
    finally:
        engine._linear = linear


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", KNOWN)
def test_rows_that_are_read_are_what_they_are_among_all_rows(family, dtype):
    engine = served(family, dtype).engine
    assert engine._linear is not None
    frame = frame_of(mixed_pairs(seed=7, num_pairs=5))

    assert scores(engine.run(frame)) == pytest.approx(scores(all_rows(engine, frame)), abs=ROUNDING[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", CONFIGS)
def test_reading_further_rows_moves_no_bit_of_the_score(family, dtype):
    engine = served(family, dtype).engine
    pairs = mixed_pairs(seed=8, num_pairs=5)

    assert scores(engine.run(frame_of(pairs, explain=True))) == scores(engine.run(frame_of(pairs)))


def test_rows_nobody_reads_do_not_reach_the_mlp():
    """The control: the saving is real. Rows are counted where they enter the last MLP, block by block."""
    engine = served("llama", torch.bfloat16).engine
    counts = []
    mlp = engine._backbone.layers[-1].parts.layer.mlp
    handle = mlp.register_forward_hook(lambda module, given, result: counts.append(result.shape[0]))
    try:
        frame = frame_of(mixed_pairs(seed=7, num_pairs=5))
        engine.run(frame)
        num_read = sum(counts)
        all_rows(engine, frame)
    finally:
        handle.remove()

    assert num_read == engine.info().frame_sizes[0] < sum(counts) - num_read


@pytest.fixture
def plain_engine(monkeypatch):
    """Makes an fp32 engine that computes by the layers' own modules."""

    def make(family):
        with monkeypatch.context() as patch:
            patch.setattr(packed_linear, "can_pack", lambda linears, min_weights: False)
            engine = TorchEngine(backbone(family), head(), OPTIONS)
            engine.warm_up(lambda words: None)
        return Served(engine)

    return make


@pytest.mark.parametrize("family", KNOWN)
def test_packed_and_plain_parts_score_alike(family, plain_engine):
    packed, plain = served(family), plain_engine(family)
    pairs = mixed_pairs(seed=9, num_pairs=8)

    assert isinstance(plain.engine._backbone.layers[0].parts, PlainParts)
    assert plain.engine.info().numeric_mode["linear"] == "torch"
    if packed.engine.info().numeric_mode["linear"] != packed_linear.MODE:
        pytest.skip("this processor's oneDNN was not taken: nothing to compare")
    assert isinstance(packed.engine._backbone.layers[0].parts, PackedParts)
    assert scores(packed.score(pairs)) == pytest.approx(scores(plain.score(pairs)), abs=2e-5)  # sums in another order


def test_half_precision_is_never_packed():
    assert served("llama", torch.bfloat16).engine.info().numeric_mode["linear"] == "torch"


def test_a_layer_that_was_never_read_keeps_its_own_forward():
    model = AutoModel.from_config(LlamaConfig(**SHAPE)).eval()
    model.layers[1].add_module("adapter", nn.Linear(2, 2))
    layers = list(model.layers)

    assert decoder_layer.install(model, 32, 0) is None
    assert list(model.layers) == layers


def test_another_activation_is_left_to_the_layers_own_mlp():
    model = AutoModel.from_config(LlamaConfig(**SHAPE, hidden_act="gelu")).eval()

    assert decoder_layer.install(model, 32, 0) == "torch"
    assert isinstance(model.layers[0].parts, PlainParts)


def test_a_linear_map_of_another_class_is_not_packed():
    class Quantized(nn.Linear):
        """Computes as it likes."""

    assert not packed_linear.can_pack([nn.Linear(64, 64), Quantized(64, 64)], 0)


def test_small_layers_are_left_to_torch():
    assert not packed_linear.can_pack([nn.Linear(64, 64)])
    assert packed_linear.can_pack([nn.Linear(1024, 1024)]) == packed_linear.can_pack([nn.Linear(64, 64)], 0)


@pytest.fixture
def packed():
    linear = nn.Linear(96, 160)
    if not packed_linear.can_pack([linear], 0):
        pytest.skip("this processor's oneDNN does not take the packed maps")
    with torch.inference_mode():
        yield linear, packed_linear.PackedLinear(linear.weight.detach(), linear.bias.detach())


def test_what_follows_a_packed_map_is_what_it_says(packed):
    linear, fast = packed
    x, other = torch.randn(70, 96), torch.randn(70, 160)
    y = linear(x)

    for given, expected in (
        (fast(x), y),
        (fast.silu(x), nn.functional.silu(y)),
        (fast.times(x, other), y * other),
        (fast.plus(x, other), y + other),
    ):
        torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)  # sums of 96 products in another order


def test_a_row_of_a_packed_map_has_the_same_bits_in_any_number_of_rows(packed):
    _, fast = packed
    x, other = torch.randn(700, 96), torch.randn(700, 160)
    whole = (fast(x), fast.silu(x), fast.times(x, other), fast.plus(x, other))
    rng = random.Random(0)
    for count in (1, 2, 3, 31, 32, 33, 64, 127, 500):
        rows = torch.tensor(rng.sample(range(700), count))
        few, with_other = x[rows].contiguous(), other[rows].contiguous()

        few_results = (fast(few), fast.silu(few), fast.times(few, with_other), fast.plus(few, with_other))
        assert all(torch.equal(some, all_[rows]) for some, all_ in zip(few_results, whole, strict=True))


def test_maps_side_by_side_are_each_what_they_were_alone(packed):
    with_bias, without = nn.Linear(96, 64), nn.Linear(96, 32, bias=False)
    joined = packed_linear.side_by_side(
        (with_bias.weight.detach(), with_bias.bias.detach()), (without.weight.detach(), None)
    )
    x = torch.randn(5, 96)

    expected = torch.cat((with_bias(x), without(x)), dim=1)
    torch.testing.assert_close(joined(x), expected, rtol=1e-5, atol=1e-5)  # sums of 96 products in another order
