"""Hints: dense side tasks that help a small model trained from nothing find what the reward needs.

One number for each answer is a thin signal. While training, two extra heads are asked at every token of an
answer: which defect the answer has (where the data name it), and whether this very token, and this very pair of
neighbours, occurred in the prompt, and earlier in the answer (which follows from the ids alone, and is what relevance,
correctness and repetition rest on). The heads are thrown away afterwards; the reward never sees them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batches import DEFECT_CLASSES
from training.packed import PackedRow, States

__all__ = ["HintHeads", "copies_TO"]


class HintHeads(nn.Module):
    """The two side tasks' heads."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.defect = nn.Linear(hidden_size, len(DEFECT_CLASSES))
        self.copies = nn.Linear(hidden_size, 4)

    def losses(self, row: PackedRow, states: States) -> Tensor:
        """Give each answer token's loss: naming the defect from what was read so far, and knowing copies.

        Args:
            row: The packed row.
            states: What the model made of it.

        Returns:
            Losses [N] of the row's answer tokens, in nats.
        """
        is_answer_T = row.is_answer_T
        classes_N = row.class_A[row.answer_T[is_answer_T]]
        # An unnamed defect has class -1 and costs nothing.
        logits_ND = self.defect(states.last_TH[is_answer_T])
        defect_N = F.cross_entropy(logits_ND, classes_N, reduction="none", ignore_index=-1)
        # Asked half-way through the layers, so that the later ones can sum the answers up.
        middle_NH = F.layer_norm(states.middle_TH[is_answer_T], states.middle_TH.shape[-1:])
        copies_NO = copies_TO(row)[is_answer_T].float()
        copies_N = F.binary_cross_entropy_with_logits(self.copies(middle_NH), copies_NO, reduction="none").sum(1)
        return defect_N + copies_N


def copies_TO(row: PackedRow) -> Tensor:  # noqa: N802 - the dimension suffix names its shape
    """Say of each token whether it stood before: its id in the prompt, in its answer; with its neighbour, likewise.

    Returns:
        Booleans [T, 4]; meaningful for tokens of an answer. The last two ask for the same id after the same id.
    """
    same_TT = row.ids_T.unsqueeze(1) == row.ids_T
    earlier_TT = row.visible_TT.tril(-1)
    pair_TT = same_TT & (row.previous_T.unsqueeze(1) == row.previous_T)
    found = [
        (matches_TT & earlier_TT & (row.is_answer_T == in_answer)).any(1)
        for matches_TT in (same_TT, pair_TT)
        for in_answer in (False, True)
    ]
    return torch.stack(found, dim=1)
