"""Advice on number formats, from timings that are made up here, and once from the machine's own."""

from types import SimpleNamespace

import pytest
import torch

from service.engine.advice import dtype_advice, seconds_of_product

CONFIG = SimpleNamespace(hidden_size=64, intermediate_size=128)


def timings(**seconds):
    return lambda dtype, inputs, outputs: seconds[str(dtype).removeprefix("torch.")]


@pytest.mark.parametrize(
    ("dtype", "seconds", "words"),
    [
        (torch.bfloat16, {"bfloat16": 2.0, "float32": 1.0}, "float32 2.0 times as fast as bfloat16: --dtype float32"),
        (torch.float16, {"float16": 9.0, "float32": 1.0}, "float32 9.0 times as fast as float16: --dtype float32"),
        (torch.float32, {"float32": 3.0, "bfloat16": 1.0}, "bfloat16 3.0 times as fast as float32: --dtype bfloat16"),
    ],
    ids=str,
)
def test_a_faster_format_is_named_with_what_it_costs(dtype, seconds, words):
    advice = dtype_advice(CONFIG, dtype, timings(**seconds))

    assert advice.startswith(f"this processor multiplies {words} would be faster, take ")
    assert ("half the memory" in advice) == (dtype is torch.float32)
    assert advice.endswith("and give other scores")


@pytest.mark.parametrize("bfloat16", [0.9, 1.0, 1.2])
def test_nothing_is_said_of_a_format_that_is_no_faster(bfloat16):
    assert dtype_advice(CONFIG, torch.bfloat16, timings(bfloat16=bfloat16, float32=1.0)) is None


def test_one_slow_measurement_says_nothing():
    """The first is left out, and of the others the median counts."""
    slow = iter([100.0, 1.0, 100.0, 1.0, 1.0, 1.0])

    def seconds_of(dtype, inputs, outputs):
        return next(slow) if dtype is torch.bfloat16 else 1.0

    assert dtype_advice(CONFIG, torch.bfloat16, seconds_of) is None


def test_large_layers_are_measured_in_part():
    asked = set()

    def seconds_of(dtype, inputs, outputs):
        asked.add((inputs, outputs))
        return 1.0

    dtype_advice(SimpleNamespace(hidden_size=4096, intermediate_size=11_008), torch.float32, seconds_of)
    dtype_advice(SimpleNamespace(hidden_size=64), torch.float32, seconds_of)
    assert asked == {(4096, 1024), (64, 64)}


def test_the_machine_can_be_asked():
    assert seconds_of_product(torch.bfloat16, 64, 128) > 0
