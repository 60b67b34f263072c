"""Heads of every kind, against arithmetic done by hand on a few numbers."""

from __future__ import annotations

import math

import pytest
import torch

from service.engine import outputs
from service.engine.gated_head import Gate, GatedHead
from service.engine.head_layers import BatchNorm, HeadLayer
from service.engine.heads import LinearHead, RowHead, StepHead, read_rewards

ROWS = torch.tensor([[3.0, 4.0], [1.0, -1.0], [0.0, 2.0]])
TWO = HeadLayer(torch.tensor([[2.0, 1.0], [-1.0, 1.0]]), torch.tensor([0.0, 0.5]))
"""Row 0 gives (10, 1.5), row 1 (1, -1.5), row 2 (2, 2.5)."""


def test_layers_follow_one_another_with_their_activations():
    head = RowHead(
        (HeadLayer(TWO.weight_OI, TWO.bias_O, "relu"), HeadLayer(torch.tensor([[1.0, 10.0]]))), outputs.raw()
    )

    assert head.reward(ROWS[1:2]).score == 1.0  # the second output, -1.5, is cut off
    assert head.description == "linear 2 -> 2 with bias, relu; linear 2 -> 1"


def test_a_batch_norm_is_the_affine_map_of_its_running_statistics():
    norm = BatchNorm(*(torch.tensor([number]) for number in (2.0, 1.0, 4.0, 9.0)))  # weight, bias, mean, var
    head = RowHead((HeadLayer(torch.tensor([[1.0, 0.0]]), norm=norm),), outputs.raw())
    module = torch.nn.BatchNorm1d(1)
    module.load_state_dict(
        {"weight": norm.weight_O, "bias": norm.bias_O, "running_mean": norm.mean_O, "running_var": norm.var_O},
        strict=False,
    )

    assert head.reward(ROWS[:1]).score == module.eval()(torch.tensor([[3.0]])).item()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (outputs.raw(), 10.0),
        (outputs.affine(0.5, -1.0), 4.0),
        (outputs.negate(), -10.0),
        (outputs.standardized(torch.tensor([4.0]), torch.tensor([9.0])), 2.0),
        (outputs.standardized(None, torch.tensor([4.0])), 5.0),
        (outputs.weighted_sum((0.5, -2.0), like=ROWS), 2.0),
    ],
)
def test_an_output_makes_one_number(output, expected):
    assert RowHead((TWO,), output).reward(ROWS[:1]).score == expected


def test_sigmoid_and_probability_are_between_0_and_1():
    assert RowHead((TWO,), outputs.sigmoid()).reward(ROWS[1:2]).score == float(torch.sigmoid(torch.tensor(1.0)))
    probability = RowHead((TWO,), outputs.probability(1)).reward(ROWS[1:2]).score
    assert probability == float(torch.softmax(torch.tensor([1.0, -1.5]), 0)[1])


def test_named_outputs_are_reported_beside_the_score():
    head = RowHead((TWO,), outputs.weighted_sum((1.0, 0.0), like=ROWS), ("help", "safety"))

    assert head.reward(ROWS[:1]).objectives == (10.0, 1.5)


@pytest.mark.parametrize(("rule", "expected"), [("last", 2.0), ("min", 1.0), ("product", 20.0), ("mean", 13.0 / 3)])
def test_steps_become_one_score_by_rule(rule, expected):
    head = StepHead(RowHead((TWO,), outputs.raw()), rule)

    reward = head.reward(ROWS)

    assert reward.steps == (10.0, 1.0, 2.0)
    assert math.isclose(reward.score, expected, rel_tol=1e-15)  # one division of doubles


def test_rows_to_be_explained_are_no_steps():
    head = StepHead(RowHead((TWO,), outputs.raw()), "min")

    (first, second) = read_rewards(head, ROWS, [0, 1, 2, 2], [0, 3, 4], read_counts=[2, 1])

    assert (first.steps, first.token_values, first.score) == ((10.0, 1.0), (2.0,), 1.0)
    assert (second.steps, second.token_values) == ((2.0,), ())


def test_a_gate_weighs_the_transformed_objectives():
    gate = Gate((HeadLayer(torch.tensor([[1.0, 0.0], [0.0, 1.0]])),), temperature=10.0, scale=torch.tensor([3.0]))
    transform = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    head = GatedHead((TWO,), gate, transform, ("help", "safety"), outputs.raw())
    weights = 3 * torch.softmax(torch.tensor([0.1, -0.1]), 0)

    reward = head.reward(ROWS)

    assert reward.objectives == (10.0, 1.5)
    assert math.isclose(reward.score, float(weights @ torch.tensor([10.0, 21.5])), rel_tol=1e-6)  # order of fp32 sums
    assert math.isclose(reward.token_values[0], float(weights @ torch.tensor([2.0, 6.5])), rel_tol=1e-6)


def test_an_objective_is_the_mean_of_its_quantiles():
    layer = HeadLayer(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    gate = Gate((HeadLayer(torch.zeros(2, 2)),))

    reward = GatedHead((layer,), gate, None, ("help", "safety"), outputs.raw()).reward(ROWS[:2])

    assert (reward.objectives, reward.score) == ((3.5, 7.0), 5.25)


def test_a_head_does_not_look_at_other_rows():
    generator = torch.Generator().manual_seed(1)
    head = LinearHead(torch.randn(1, 64, generator=generator))
    rows = torch.randn(5, 64, generator=generator)

    alone = [head.reward(rows[index : index + 1]).score for index in range(5)]

    assert [reward.score for reward in read_rewards(head, rows, range(5), range(6))] == alone


def test_a_distribution_counts_by_its_expectation_and_one_row_serves_score_and_gate():
    layer = HeadLayer(torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))  # two objectives of two bins
    gate = Gate((HeadLayer(torch.tensor([[1.0, 0.0], [0.0, 1.0]])),), is_softmax=False)
    head = GatedHead((layer,), gate, None, ("a", "b"), outputs.raw(), has_gate_row=False, has_bins=True)
    second = 1 - float(torch.sigmoid(torch.tensor(3.0)))  # bins at 0 and 1; the first has the logit 3

    reward = head.reward(ROWS[:1])

    assert reward.objectives == pytest.approx((0.5, second), rel=1e-6)  # order of fp32 sums
    assert reward.score == pytest.approx(3 * 0.5 + 4 * second, rel=1e-6)
    assert len(head.reward(ROWS, num_reads=1).token_values) == 2
