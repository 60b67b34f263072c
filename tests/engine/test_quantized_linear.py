"""Codes, scales, and layers that stand in for linear ones."""

import pytest
import torch
from torch import nn

from service.engine.quantized_linear import LARGEST_CODE, QuantizedLinear, Scratch, decode, encode, quantize
from tests.engine.models import backbone

KINDS = tuple(LARGEST_CODE)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def slowly(weight_OI: torch.Tensor, kind: str) -> torch.Tensor:
    """The decoded weight, row by row and straight from the definition, by torch's own casts."""
    rows = []
    for row in weight_OI:
        peak = row.float().abs().max()
        scale = (peak / LARGEST_CODE[kind]).to(row.dtype) if peak > 0 else torch.ones((), dtype=row.dtype)
        ratios = (row.float() / scale.float()).clamp(-LARGEST_CODE[kind], LARGEST_CODE[kind])
        codes = ratios.round() if kind == "int8" else ratios.to(torch.float8_e4m3fn).float()
        rows.append((codes * scale.float()).to(row.dtype))
    return torch.stack(rows)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_fp8_code_is_decoded_as_torch_casts_it(dtype):
    codes = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn)
    codes = codes[~codes.float().isnan()][None]

    decoded = decode(codes, torch.ones(1, 1, dtype=dtype), out=torch.empty(codes.shape, dtype=dtype))

    assert codes.numel() == 254
    assert torch.equal(decoded, codes.to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_decoded_weights_are_those_of_the_definition(kind, dtype):
    weight = (torch.randn(40, 70, generator=torch.Generator().manual_seed(1)) / 30).to(dtype)
    weight[3] = 0
    weight[4, 5] = 40

    codes, scale = encode(weight, kind)

    assert codes.element_size() == 1
    assert torch.equal(decode(codes, scale, out=torch.empty_like(weight)), slowly(weight, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_rows_change_nothing(kind, monkeypatch):
    weight = torch.randn(37, 11, generator=torch.Generator().manual_seed(2))
    whole = encode(weight, kind)
    monkeypatch.setattr("service.engine.quantized_linear.BLOCK_VALUES", 50)
    parts = encode(weight, kind)

    assert torch.equal(whole[0].view(torch.int8), parts[0].view(torch.int8))
    assert torch.equal(whole[1], parts[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_computes_with_the_decoded_weight_and_its_own_bias(kind):
    linear = nn.Linear(24, 10).requires_grad_(False)
    rows = torch.randn(5, 24)
    expected = nn.functional.linear(rows, slowly(linear.weight, kind), linear.bias)

    assert torch.equal(QuantizedLinear(linear, kind, Scratch())(rows), expected)


def test_layers_of_several_sizes_share_one_buffer():
    scratch = Scratch()
    layers = [QuantizedLinear(nn.Linear(size, 8).requires_grad_(False), "int8", scratch) for size in (4, 32, 16)]
    inputs = [torch.randn(2, size) for size in (4, 32, 16)]
    first = [layer(rows) for layer, rows in zip(layers, inputs, strict=True)]

    assert all(torch.equal(layer(rows), out) for layer, rows, out in zip(layers, inputs, first, strict=True))
    assert scratch.values is not None
    assert scratch.values.numel() == 8 * 32


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_holds_one_byte_a_linear_weight_and_all_else_as_it_was(kind):
    before, model = backbone("llama"), backbone("llama")
    linears = {name for name, module in before.named_modules() if isinstance(module, nn.Linear)}

    assert quantize(model, kind) == len(linears) == 3 * 7
    kept = model.state_dict()
    weights = [before.get_submodule(name).weight for name in linears]
    codes = [model.get_submodule(name).codes_OI for name in linears]
    assert sum(each.nbytes for each in codes) == sum(each.numel() for each in weights)
    assert sum(each.nbytes for each in kept.values()) < sum(each.nbytes for each in before.state_dict().values()) / 2
    rest = {name for name in before.state_dict() if name.removesuffix(".weight") not in linears}
    assert {"embed_tokens.weight", "norm.weight"} <= rest
    assert all(torch.equal(kept[name], before.state_dict()[name]) for name in rest)
    assert not any(isinstance(module, nn.Linear) for module in model.modules())


@pytest.mark.parametrize("harm", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_stops_it_by_the_layers_name(harm):
    model = backbone("llama")
    model.layers[1].mlp.up_proj.weight.data[2, 3] = harm

    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj: a weight is NaN or infinite"):
        quantize(model, "int8")
