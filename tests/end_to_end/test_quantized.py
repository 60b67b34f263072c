"""Quantized models behind the real path: as bit-stable as any, refused where they would say something else."""

import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from model_store.sources import SHIPPED
from service.errors import QuantizationRefused
from service.types import Truncation
from tests.checkpoints import make_checkpoint
from tests.end_to_end.conftest import scores, serving
from tests.end_to_end.texts import group
from tests.engine.test_quantized_linear import KINDS, slowly


@pytest.fixture
def pairs():
    rng = random.Random(21)
    return [pair for _ in range(3) for pair in group(rng, 5)]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_pair_gets_one_float_alone_and_among_others(pairs, kind, dtype):
    async with serving("demo", dtype=dtype, quantization=kind) as model:
        alone = [(await scores(model, [pair]))[0] for pair in pairs]

        assert len(set(alone)) > len(pairs) // 2
        assert await scores(model, pairs) == alone
        assert await scores(model, pairs[::-1]) == alone[::-1]


def decoded(folder, kind):
    """The checkpoint in plain transformers, every linear layer of its backbone holding what its codes stand for."""
    oracle = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    for module in oracle.model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = slowly(module.weight.data, kind)
    return oracle


async def scores_and_plain_ones(folder, kind, pairs):
    """What the quantized model says, and what plain transformers says with the decoded weights, one at a time."""
    oracle = decoded(folder, kind)
    async with serving(folder, quantization=kind) as model:
        got = await scores(model, pairs)
        ids = [list(encoded.ids) for encoded in await model.preview(pairs, Truncation.ERROR)]
    with torch.inference_mode():
        hidden = [oracle.model(input_ids=torch.tensor([each])).last_hidden_state[0, -1] for each in ids]
        return got, [float(oracle.score(each)[0]) for each in hidden]


@pytest.mark.parametrize("kind", ["int8", pytest.param("fp8", marks=pytest.mark.long)])
async def test_scores_are_those_of_a_plain_model_with_the_decoded_weights(pairs, kind):
    got, expected = await scores_and_plain_ones(SHIPPED / "demo", kind, pairs)
    async with serving("demo") as model:
        unquantized = await scores(model, pairs)

    assert got == pytest.approx(expected, abs=2e-5)  # fp32: another order of the same sums
    assert max(abs(new - old) for new, old in zip(got, unquantized, strict=True)) > 1e-3


async def test_a_family_that_takes_one_pair_a_forward_is_quantized_too(tmp_path, pairs):
    got, expected = await scores_and_plain_ones(make_checkpoint(tmp_path / "gemma2", "gemma2"), "int8", pairs)

    assert got == pytest.approx(expected, abs=2e-5)  # fp32: another order of the same sums


@pytest.mark.parametrize("kind", KINDS)
async def test_what_it_tells_of_itself_says_how_well_it_agrees(kind):
    async with serving("demo") as model:
        unquantized = model.card
    async with serving("demo", quantization=kind) as model:
        card, golden = model.card, await model.verify()

    assert unquantized.fingerprint != card.fingerprint
    assert "quantization" not in unquantized.engine.numeric_mode
    assert card.engine.numeric_mode["quantization"].startswith(kind)
    assert card.details["order_agreement"].endswith(" (at least 0.95)")
    assert card.details["margin_error"].endswith(" (at most 0.1)")
    assert card.is_verified
    assert golden
    assert all(check.is_ok for check in golden)


@pytest.mark.parametrize(("kind", "factor"), [("int8", 2.0**12), ("fp8", 2.0**24)])
@pytest.mark.long
async def test_a_model_with_outliers_in_every_row_is_refused_and_served_unquantized(tmp_path, pairs, kind, factor):
    """One input of every row is huge, and the norm before it small by as much: the same function, the same scores, but
    one scale a row leaves nothing of the other weights."""
    tame, fragile = tmp_path / "tame", tmp_path / "fragile"
    for folder in (tame, fragile):
        shutil.copytree(SHIPPED / "demo", folder)
    path = fragile / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj.weight", "up_proj.weight")):
            tensor[:, 0] *= factor
        if "layernorm" in name:
            tensor[0] /= factor
    save_file(tensors, path, metadata={"format": "pt"})

    async with serving(tame, quantization=kind) as model:
        assert "margin_error" in model.card.details
    async with serving(tame) as model:
        expected = await scores(model, pairs)
    async with serving(fragile) as model:
        assert await scores(model, pairs) == pytest.approx(expected, abs=2e-5)  # powers of two
    with pytest.raises(
        QuantizationRefused, match=r"Order agreement is \S+ .*margin error \S+ \(allowed: at most 0\.1\)"
    ):
        async with serving(fragile, quantization=kind):
            pass


def test_an_unknown_kind_is_refused_with_those_there_are():
    from service.errors import SettingsError
    from service.settings_loading import load_settings

    with pytest.raises(SettingsError, match=r"int4.*int8.*fp8"):
        load_settings({}, {"quantization": "int4"})
