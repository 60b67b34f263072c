import itertools
import math

import pytest
import torch

from training.kwise_loss import pairwise_hits, plackett_luce_nll, strictly_better_GKK


def naive_nll(rewards: torch.Tensor) -> torch.Tensor:
    """The formula as the paper writes it, one group, columns best to worst."""
    num_candidates = rewards.shape[0]
    terms = [torch.log(torch.exp(rewards[k:]).sum()) - rewards[k] for k in range(num_candidates)]
    return torch.stack(terms).sum() / (num_candidates - 1)


def test_it_equals_the_written_out_formula() -> None:
    rewards_GK = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    expected = torch.stack([naive_nll(row) for row in rewards_GK]).mean()

    # Two orders of summation in fp64: a few units in the last place.
    assert plackett_luce_nll(rewards_GK).item() == pytest.approx(expected.item(), rel=1e-12)


def test_its_gradient_equals_that_of_the_written_out_formula() -> None:
    rewards_K = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours, naive = rewards_K.clone().requires_grad_(), rewards_K.clone().requires_grad_()

    plackett_luce_nll(ours.unsqueeze(0)).backward()
    naive_nll(naive).backward()

    assert ours.grad is not None
    assert naive.grad is not None
    # fp64 rounding of sums of seven terms.
    assert torch.allclose(ours.grad, naive.grad, rtol=0, atol=1e-14)


def test_two_candidates_give_bradley_terry() -> None:
    rewards_GK = torch.tensor([[1.5, -0.25]], dtype=torch.float64)

    # log(1 + exp(-margin)) in two spellings.
    assert plackett_luce_nll(rewards_GK).item() == pytest.approx(math.log1p(math.exp(-1.75)), rel=1e-12)


def test_the_probabilities_of_all_orders_sum_to_one() -> None:
    rewards_K = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64)
    orders = list(itertools.permutations(range(4)))

    losses = [plackett_luce_nll(rewards_K[list(order)].unsqueeze(0)).item() * 3 for order in orders]

    # 24 exponentials in fp64.
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("magnitude", [1e4, 1e30], ids=["large", "huge"])
def test_a_right_order_with_large_margins_costs_nothing(magnitude: float) -> None:
    rewards_GK = torch.tensor([[3.0, 2.0, 1.0]]) * magnitude
    rewards_GK.requires_grad_()

    loss = plackett_luce_nll(rewards_GK)
    loss.backward()

    assert loss.item() == 0.0
    assert rewards_GK.grad is not None
    assert torch.isfinite(rewards_GK.grad).all()


def test_a_wrong_order_with_large_margins_costs_the_margins() -> None:
    rewards_GK = torch.tensor([[0.0, 1e6, 2e6]])

    # (2e6 - 0) + (2e6 - 1e6), over two choices; all are exact in fp32.
    assert plackett_luce_nll(rewards_GK).item() == 1.5e6


def test_a_shift_of_all_rewards_changes_nothing() -> None:
    rewards_GK = torch.tensor([[0.5, -1.25, 2.0]])

    shifted = plackett_luce_nll(rewards_GK + 16.0)
    # The log-sum-exp of values near 16 is rounded to units of 2e-6.
    assert shifted.item() == pytest.approx(plackett_luce_nll(rewards_GK).item(), abs=1e-5)


def test_equals_do_not_push_each_other() -> None:
    rewards_GK = torch.tensor([[3.0, -2.0, 0.5]], requires_grad=True)

    loss = plackett_luce_nll(rewards_GK, torch.tensor([[1, 1, 1]]))
    loss.backward()

    assert loss.item() == 0.0
    assert rewards_GK.grad is not None
    assert rewards_GK.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_tied_winners_each_compete_with_the_loser_alone() -> None:
    rewards = torch.tensor([[1.0, 0.25, -0.5]], dtype=torch.float64)

    loss = plackett_luce_nll(rewards, torch.tensor([[1, 1, 2]]))

    expected = (math.log1p(math.exp(-1.5)) + math.log1p(math.exp(-0.75))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-12)  # fp64 rounding


def test_tiers_may_come_in_any_order() -> None:
    best_first = plackett_luce_nll(torch.tensor([[3.0, 1.0, 2.0]]))

    # The same sums in another order.
    shuffled = plackett_luce_nll(torch.tensor([[2.0, 3.0, 1.0]]), torch.tensor([[3, 1, 2]]))
    assert shuffled.item() == pytest.approx(best_first.item(), rel=1e-6)


@pytest.mark.parametrize("shape", [(3,), (2, 1)], ids=["no groups", "one candidate"])
def test_what_is_no_ranking_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="candidates >= 2"):
        plackett_luce_nll(torch.zeros(shape))


def test_tiers_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        plackett_luce_nll(torch.zeros(1, 3), torch.zeros(1, 2))


def test_tied_pairs_are_not_counted() -> None:
    hits = pairwise_hits(torch.tensor([[5.0, 1.0, 3.0]]), torch.tensor([[1, 1, 2]]))

    assert hits == (1.0, 2)


def test_equal_rewards_of_an_ordered_pair_are_half_a_hit() -> None:
    assert pairwise_hits(torch.tensor([[1.0, 1.0]]), torch.tensor([[1, 2]])) == (0.5, 1)


def test_strictly_better_is_false_between_equals() -> None:
    assert strictly_better_GKK(torch.tensor([[1, 1, 2]]))[0].tolist() == [
        [False, False, True],
        [False, False, True],
        [False, False, False],
    ]
