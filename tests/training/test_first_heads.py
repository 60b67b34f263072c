"""What the untrained demo model's heads look at, read off transformers' eager attention."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from training.build_demo import QUICK, demo_model
from training.demo_data.generator import generate
from training.demo_data.lexicon import Split
from training.first_heads import start_heads
from training.tokenizer import texts_of, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(texts_of(generate(0, Split.TRAIN, 200)), vocab_size=2000)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    model = demo_model(replace(QUICK, vocab_size=2000), tokenizer).eval()
    model.set_attn_implementation("eager")
    return model


def attention_of(model: LlamaForSequenceClassification, ids: list[int]) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        output = model.model(torch.tensor([ids]), output_attentions=True)
    return tuple(layer_1HTT[0] for layer_1HTT in output.attentions)


def ids_drawn(num_tokens: int, seed: int) -> list[int]:
    """BOS and different tokens that are not among the commonest."""
    order = torch.randperm(900, generator=torch.Generator().manual_seed(seed))[: num_tokens - 1]
    return [0, *(order + 1060).tolist()]


def test_windows_lie_one_and_a_few_tokens_back(model: LlamaForSequenceClassification) -> None:
    first_HTT = attention_of(model, ids_drawn(60, seed=1))[0]
    places = torch.arange(20, 60)

    distances_HP = places - first_HTT[:, places].argmax(dim=-1)

    assert set(distances_HP[3].tolist()) == {1}
    assert set(distances_HP[4].tolist()) <= {2, 3, 4}
    assert set(distances_HP[5].tolist()) <= {5, 6, 7, 8, 9}


def test_a_token_that_stood_before_is_found_by_its_neighbour_too(model: LlamaForSequenceClassification) -> None:
    hits = 0
    for seed in range(20):
        ids = ids_drawn(50, seed)
        ids[40:42] = ids[20:22]
        second_HTT = attention_of(model, ids)[1]
        hits += int(second_HTT[0, 41].argmax() == 21)

    # A random comparison in 18 dimensions now and then scores another token higher.
    assert hits >= 14


def test_a_model_without_room_for_the_heads_is_refused() -> None:
    shape = {"vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 64}
    config = LlamaConfig(**shape, num_attention_heads=2, num_key_value_heads=2, num_labels=1)

    with pytest.raises(ValueError, match="at least 3 query heads for each"):
        start_heads(LlamaForSequenceClassification(config), 1e6)
