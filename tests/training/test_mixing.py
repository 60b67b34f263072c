import pytest
import torch
from torch import nn

from training.mixing import go_back


def linear(value: float, size: int = 2) -> nn.Linear:
    model = nn.Linear(size, 1)
    for weight in model.parameters():
        nn.init.constant_(weight, value)
    return model


@pytest.mark.parametrize(("share", "expected"), [(0.0, 5.0), (0.25, 4.0), (1.0, 1.0)])
def test_weights_go_back_by_a_share_of_the_way(share: float, expected: float) -> None:
    model, start = linear(5.0), linear(1.0)

    go_back(model, start, share)

    assert {value for weight in model.parameters() for value in weight.flatten().tolist()} == {expected}
    assert torch.equal(start.weight, torch.ones(1, 2))


def test_models_of_other_shapes_are_refused_and_left_alone() -> None:
    model = linear(5.0)

    with pytest.raises(ValueError, match="not the same parameters"):
        go_back(model, linear(1.0, size=3), 0.5)
    assert torch.equal(model.weight, torch.full((1, 2), 5.0))
