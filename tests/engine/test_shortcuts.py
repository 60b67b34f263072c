"""What an accelerator may do faster: fused layers, and which shortcuts are taken. The kernels: `tests/gpu`."""

import itertools
import shutil

import pytest
import torch

from service.engine import decoder_layer, fused_parts, shortcuts, varlen
from service.engine.fused_parts import Fused, FusedParts, gated, rms_norm
from service.engine.layer_parts import PlainParts, rotated
from service.engine.shortcuts import Shortcuts
from service.engine.torch_engine import TorchEngine
from tests.engine.models import OPTIONS, Served, backbone, head, served
from tests.engine.test_kept_prefix_bits import Counter, alone, mixed_pairs
from tests.engine.test_varlen import Reference

COMPILES = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ here, and there is none")

QUIET = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
"""Torch's compiler warns of torch itself."""

FAMILIES = ("llama", "qwen3")


@pytest.fixture
def accelerated(monkeypatch):
    """As on an accelerator, but for compilers and kernels: eager functions, and a reference of the attention."""
    for family in FAMILIES:
        plain = served(family, torch.bfloat16)  # made once, and compared with: must have no shortcut
        assert plain.engine.info().numeric_mode["shortcuts"] == "none"
    monkeypatch.setattr(shortcuts, "may_take", lambda device, dtype: True)
    monkeypatch.setattr(fused_parts.torch, "compile", lambda function, fullgraph: function)
    monkeypatch.setattr(varlen, "find", Reference)


def warm_engine(family, dtype=torch.bfloat16, progress=lambda words: None):
    engine = TorchEngine(backbone(family, dtype), head(), OPTIONS)
    engine.warm_up(progress)
    return engine


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_layers_do_what_plain_ones_do(accelerated, family):
    engine = warm_engine(family)
    pairs = mixed_pairs(seed=2, num_pairs=15)

    assert engine.info().numeric_mode["shortcuts"] == "varlen attention and fused layers"
    assert all(isinstance(layer.parts, FusedParts) for layer in engine._backbone.layers)
    assert Counter(Served(engine), capacity=400).score(pairs) == alone(served(family, torch.bfloat16), pairs)


def test_layers_that_are_not_ours_are_not_fused(accelerated):
    assert warm_engine("gemma3").info().numeric_mode["shortcuts"] == "varlen attention"


@pytest.mark.parametrize(
    "bad", [{"varlen"}, {"fused"}, {"varlen", "fused"}, set()], ids=lambda bad: " and ".join(sorted(bad)) or "none"
)
def test_a_shortcut_that_is_wrong_is_left_out_and_the_other_is_kept(accelerated, monkeypatch, bad):
    if "varlen" in bad:
        monkeypatch.setattr(Reference, "__call__", lambda self, query, key, value, runs, **more: query * 0)
    if "fused" in bad:
        monkeypatch.setattr(fused_parts, "gated", lambda gate, up: gate)
    said = []
    engine = warm_engine("llama", progress=said.append)
    pairs = mixed_pairs(seed=3, num_pairs=6)

    kept = [words for words, name in (("varlen attention", "varlen"), ("fused layers", "fused")) if name not in bad]
    assert engine.info().numeric_mode["shortcuts"] == (" and ".join(kept) or "none")
    assert any(line.startswith("not taken:") for line in said) == bool(bad)
    assert any(line.startswith("compiling") for line in said)
    assert all(type(layer.parts) is (PlainParts if "fused" in bad else FusedParts) for layer in engine._backbone.layers)
    assert alone(Served(engine), pairs) == alone(served("llama", torch.bfloat16), pairs)


def test_what_is_wrong_without_any_shortcut_stops_the_start():
    def check(taken):
        raise RuntimeError("differs")

    with pytest.raises(RuntimeError, match="differs"):
        shortcuts.choose(backbone("llama"), torch.device("cpu"), torch.float32, check, print)


@pytest.mark.parametrize(
    ("device", "dtype", "may"),
    [
        ("cuda", torch.bfloat16, True),
        ("cuda", torch.float16, True),
        ("cuda", torch.float32, False),
        ("cpu", torch.bfloat16, False),
    ],
    ids=str,
)
def test_only_half_precision_on_cuda_takes_any(device, dtype, may):
    assert shortcuts.may_take(torch.device(device), dtype) == may


def test_shortcuts_in_words():
    assert [str(Shortcuts(None, fused)) for fused in (False, True)] == ["none", "fused layers"]


@COMPILES
@QUIET
@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_compiled_rows_have_the_same_bits_among_few_and_many(dtype):
    """The processor's compiler; CUDA's is asked by `tests/gpu`, through the engine."""
    fused = Fused()
    cosines, sines, rows, weight = (torch.randn(shape).to(dtype) for shape in [(512, 16), (512, 16), (512, 96), (96,)])
    heads, gate, up = (torch.randn(shape).to(dtype) for shape in [(512, 6, 16), (512, 200), (512, 200)])
    functions = {
        "norm": (lambda n: fused.norm(rows[:n], weight, 1e-6), rms_norm(rows, weight, 1e-6)),
        "turn": (lambda n: fused.turn(heads[:n], (cosines[:n], sines[:n])), rotated(heads, cosines, sines)),
        "gate": (lambda n: fused.gate(gate[:n], up[:n]), gated(gate, up)),
    }
    # A compiled function rounds once where eager torch rounds between operations.
    tolerance = {"rtol": 2e-2, "atol": 7e-2} if dtype is torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}

    with torch.inference_mode():
        for compiled, eager in functions.values():
            most = compiled(512)
            torch.testing.assert_close(most, eager, **tolerance)
            for few in itertools.chain((64, 96), range(128, 512, 128)):
                assert torch.equal(compiled(few), most[:few])


@COMPILES
@QUIET
@pytest.mark.long
def test_an_engine_with_compiled_layers_gives_a_pair_one_score(monkeypatch):
    monkeypatch.setattr(shortcuts, "may_take", lambda device, dtype: True)
    monkeypatch.setattr(varlen, "find", Reference)
    model = Served(warm_engine("qwen3"))
    pairs = mixed_pairs(seed=5, num_pairs=30)

    assert model.engine.info().numeric_mode["shortcuts"] == "varlen attention and fused layers"
    assert Counter(model, budget=96, capacity=400).score(pairs) == alone(model, pairs)


def test_decoder_layers_without_silu_are_not_fused():
    model = backbone("llama", torch.bfloat16)
    for layer in model.layers:
        layer.mlp.act_fn = torch.nn.GELU()
    decoder_layer.install(model, 64, 0)

    assert not decoder_layer.fuse(model)
    assert all(type(layer.parts) is PlainParts for layer in model.layers)
