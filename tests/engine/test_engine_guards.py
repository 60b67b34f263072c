"""What the engine refuses rather than get wrong."""

import pytest
import torch
from torch import nn
from transformers import Gemma2Config, Gemma2Model

from service.engine import attention, self_check
from service.engine.frame_sizes import admit_frame_sizes, frame_ladder, shares_bits
from service.engine.heads import LinearHead, read_rewards
from service.engine.lanes import Lanes
from service.engine.prefix_slots import PrefixSlots
from service.engine.spans import ChunkSpan, FrameLayout
from service.engine.torch_engine import EngineOptions, TorchEngine
from service.errors import EngineFailure
from tests.engine.models import SHAPE, backbone, head, served
from tests.pairs import encoded


def call_attention(**keywords):
    tensor = torch.zeros(1, 2, 4, 8)
    layout = FrameLayout((ChunkSpan(0, 4),), 4, PrefixSlots(1), Lanes(1))
    layer = nn.Module()
    layer.layer_idx = 0
    return attention.frame_attention(layer, tensor, tensor, tensor, None, frame=layout, **keywords)


@pytest.mark.parametrize("keyword", ["softcap", "s_aux", "head_mask"])
def test_an_attention_feature_nobody_taught_it_stops_the_forward_by_name(keyword):
    with pytest.raises(NotImplementedError, match=keyword):
        call_attention(**{keyword: 30.0})


def test_an_unknown_keyword_that_asks_for_nothing_is_let_pass():
    assert call_attention(softcap=None)[0].shape == (1, 4, 2, 8)


def test_a_layer_that_does_not_say_which_it_is_stops_the_forward():
    tensor = torch.zeros(1, 2, 4, 8)
    layout = FrameLayout((ChunkSpan(0, 4),), 4, PrefixSlots(1), Lanes(1))
    with pytest.raises(NotImplementedError, match="layer_idx"):
        attention.frame_attention(nn.Module(), tensor, tensor, tensor, None, frame=layout)


def test_dropout_stops_the_forward():
    with pytest.raises(NotImplementedError, match=r"dropout=0\.1"):
        call_attention(dropout=0.1)


def test_a_soft_capped_model_is_refused_at_warm_up():
    config = Gemma2Config(**SHAPE | {"num_hidden_layers": 2}, num_key_value_heads=2, head_dim=32)
    engine = TorchEngine(Gemma2Model(config), head(), EngineOptions(128, 128))

    with pytest.raises((NotImplementedError, EngineFailure), match="softcap"):
        engine.warm_up(lambda words: None)


def test_a_model_that_keeps_its_own_attention_is_refused():
    class Stubborn(nn.Module):
        config = type("Config", (), {"_attn_implementation": "eager"})()

        def set_attn_implementation(self, name):
            """Logs and stays eager, as DeBERTa does."""

    with pytest.raises(NotImplementedError, match="keeps attention 'eager'"):
        attention.install(Stubborn())


@torch.inference_mode()
def test_the_self_check_finds_an_ignored_window():
    """The same weights with and without their window."""
    ignoring = backbone("mistral-windowed")
    ignoring.config.sliding_window = None
    plain = self_check.plain_forwards(backbone("mistral-windowed"), 1024)

    def hidden_of(frame, ladder):
        return ignoring(torch.tensor([frame.token_ids])).last_hidden_state[0]

    with pytest.raises(EngineFailure, match="differs from the model's plain forward"):
        self_check.compare(plain, hidden_of, (1024,))


def test_a_frame_size_with_other_bits_is_not_admitted():
    def hidden_of(frame, sizes):
        hidden = torch.tensor(frame.token_ids, dtype=torch.float32)[:, None]
        return hidden + (1e-7 if sizes[0] == 96 else 0.0) * hidden

    assert admit_frame_sizes((64, 96, 128, 256), hidden_of, 100, lambda words: None) == (64, 128, 256)


@pytest.mark.parametrize("odd_size", [64, 128, 256])
def test_frames_are_not_spread_over_cores_if_that_moves_a_bit(odd_size):
    lanes = Lanes(2, min_shared_work=0)

    def hidden_of(frame, sizes):
        hidden = torch.tensor(frame.token_ids, dtype=torch.float32)[:, None]
        moves = sizes[0] == odd_size and lanes.is_sharing
        return hidden + (1e-6 if moves else 0.0) * hidden

    assert not shares_bits((64, 128, 256), hidden_of, lanes, 100, lambda words: None)
    odd_size = 1
    assert shares_bits((64, 128, 256), hidden_of, lanes, 100, lambda words: None)


def test_a_machine_whose_largest_frame_disagrees_with_itself_is_refused():
    def hidden_of(frame, sizes):
        return torch.rand(len(frame.token_ids), 1)

    with pytest.raises(EngineFailure, match="different bits"):
        admit_frame_sizes((64, 128), hidden_of, 100, lambda words: None)


@pytest.mark.parametrize("threads", [1, 2, 3, 6, 16])
def test_every_rung_of_the_ladder_splits_evenly_and_the_last_holds_everything(threads):
    ladder = frame_ladder(4097, threads)

    assert list(ladder) == sorted(set(ladder))
    assert ladder[-1] >= 4097
    assert all(rows % 32 == 0 and rows % threads == 0 for rows in ladder)


def test_poisoned_weights_give_not_a_number_and_no_error():
    poisoned = backbone("llama")
    with torch.no_grad():
        poisoned.norm.weight[0] = float("nan")
    engine = served("llama").engine
    rewards = read_rewards(head(), poisoned(torch.tensor([[1, 2, 3]])).last_hidden_state[0].detach(), [2], [0, 1])

    assert rewards[0].score != rewards[0].score
    assert engine.info().device == "cpu"


def test_an_id_outside_the_vocabulary_fails_the_frame_and_leaves_the_engine_usable():
    model = served("llama")
    with pytest.raises(EngineFailure, match="forward pass failed"):
        model.score([encoded([1], [10_000])])

    assert model.score([encoded([1], [2])])[0].score == model.score([encoded([1], [2])])[0].score


def test_an_affine_output_is_applied_in_fp32():
    raw = LinearHead(torch.tensor([[2.0, 1.0]])).reward(torch.tensor([[3.0, 4.0]]))
    affine = LinearHead(torch.tensor([[2.0, 1.0]]), torch.tensor([1.0]), scale=0.5, shift=-1.0)

    assert raw.score == 10.0
    assert affine.reward(torch.tensor([[3.0, 4.0]])).score == 4.5
    assert affine.description == "linear 2 -> 1 with bias"


def test_numeric_mode_names_what_a_score_may_depend_on():
    mode = served("llama", torch.bfloat16).engine.info().numeric_mode

    assert mode["dtype"] == "bfloat16"
    assert {"torch", "transformers", "threads", "frame_sizes", "cpu", "device"} <= set(mode)
