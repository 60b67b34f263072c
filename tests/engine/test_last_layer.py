"""Leaving unread rows out of the last layer moves no bit, and is done only where the layer is known."""

import pytest
import torch
from torch import nn

from service.engine import last_layer
from service.engine.torch_engine import TorchEngine
from service.scheduling.packing import FrameBuilder
from tests.engine.models import CONFIGS, DTYPES, served
from tests.engine.test_kept_prefix_bits import mixed_pairs
from tests.pairs import job


def frame_of(pairs, explain=False):
    builder = FrameBuilder(1024)
    for number, pair in enumerate(pairs):
        assert builder.try_add(job(number, pair, explain=explain))
    return builder.build().frame


def all_rows(engine: TorchEngine, frame):
    """The same engine, told to compute every row."""
    engine._leaves_out_rows = False
    try:
        return engine.run(frame)
    finally:
        engine._leaves_out_rows = True


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", [family for family in CONFIGS if family != "gemma3"])  # its last layer is its own
def test_rows_that_are_read_get_the_bits_they_have_among_all_rows(family, dtype):
    engine = served(family, dtype).engine
    assert engine._leaves_out_rows
    for explain in (False, True):
        frame = frame_of(mixed_pairs(seed=7, num_pairs=5), explain)

        assert engine.run(frame) == all_rows(engine, frame)


def test_rows_nobody_reads_do_not_reach_the_mlp():
    """The control: the saving is real. A hook counts the rows of the last MLP."""
    engine = served("llama").engine
    counts = []
    mlp = engine._backbone.layers[-1].layer.mlp
    handle = mlp.register_forward_hook(lambda module, given, result: counts.append(result.shape[1]))
    try:
        frame = frame_of(mixed_pairs(seed=7, num_pairs=5))
        engine.run(frame)
        all_rows(engine, frame)
    finally:
        handle.remove()

    assert counts[0] == engine.info().frame_sizes[0] < counts[1]


def test_a_layer_that_was_never_read_keeps_its_own_forward():
    backbone = nn.Module()
    backbone.layers = nn.ModuleList([nn.Linear(2, 2)])

    assert not last_layer.install(backbone)
    assert isinstance(backbone.layers[0], nn.Linear)
    assert torch.equal(backbone.layers[0](torch.zeros(1, 2)), backbone.layers[0].bias[None])
