"""The engine on a CUDA device: one pair, one float, and close to a plain forward. Run by `make test-gpu`."""

import random

import pytest
import torch

from service.engine.heads import LinearHead
from service.engine.torch_engine import EngineOptions, TorchEngine
from tests.engine.models import CONFIGS, HEAD_WEIGHT_OH, MAX_TOKENS, Served, backbone
from tests.engine.test_kept_prefix_bits import Counter, alone, mixed_pairs
from tests.pairs import random_group

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's compiler warns of torch itself
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none"),
]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=CONFIGS)
def model(request, dtype) -> Served:
    cuda_head = LinearHead(HEAD_WEIGHT_OH.cuda())
    options = EngineOptions(MAX_TOKENS, MAX_TOKENS)
    engine = TorchEngine(backbone(request.param, dtype).cuda(), cuda_head, options)
    engine.warm_up(lambda words: None)
    return Served(engine)


def test_grouped_and_batched_scores_equal_lone_scores(model):
    rng = random.Random(1)
    pairs = [pair for _ in range(6) for pair in random_group(rng, 5)]
    alone = [model.score([pair])[0] for pair in pairs]
    for _ in range(8):
        order = rng.sample(range(len(pairs)), rng.randint(2, len(pairs)))

        assert model.score([pairs[i] for i in order]) == [alone[i] for i in order]


def test_kept_dropped_and_split_prompts_give_the_lone_scores(model):
    rng = random.Random(3)
    pairs = mixed_pairs(seed=2, num_pairs=60)
    expected = alone(model, pairs)
    counter = Counter(model, budget=96, capacity=400)

    for _ in range(10):
        chosen = rng.sample(range(len(pairs)), rng.randint(1, 20))
        assert counter.score([pairs[i] for i in chosen]) == [expected[i] for i in chosen]


def test_half_precision_takes_shortcuts(model, dtype):
    taken = model.engine.info().numeric_mode["shortcuts"]

    assert ("varlen attention" in taken) == (dtype is torch.bfloat16)
    is_ours = model.engine._linear is not None
    assert ("fused layers" in taken) == (dtype is torch.bfloat16 and is_ours)
