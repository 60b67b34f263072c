"""Hints: dense side tasks that help a small model trained from nothing find what the reward needs.

One number for each answer is a thin signal. While training, two extra heads are asked at every token of an
answer: which defect the answer has (where the data name it), and whether this very token occurred in the
prompt, and earlier in the answer (which follows from the ids alone, and is what relevance and repetition rest
on). The heads are thrown away afterwards; the reward never sees them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batches import EncodedRanking, Slice
from training.demo_data.answers import Defect

__all__ = ["HintHeads", "copies_STO", "targets_of"]

_CLASSES = {defect.value: place for place, defect in enumerate(Defect)}


class HintHeads(nn.Module):
    """The two side tasks' heads."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.defect = nn.Linear(hidden_size, len(_CLASSES))
        self.copies = nn.Linear(hidden_size, 2)

    def losses(self, piece: Slice, targets: list[tuple[int, int]]) -> Tensor:
        """Give each answer token's loss: naming the defect from what was read so far, and knowing copies."""
        starts_S, classes_S = torch.tensor([targets[row] for row in piece.rows]).unbind(1)
        position_T = torch.arange(piece.ids_ST.shape[1])
        is_answer_ST = (position_T >= starts_S.unsqueeze(1)) & (position_T < piece.lengths_S.unsqueeze(1))
        classes_N = classes_S.unsqueeze(1).expand_as(piece.ids_ST)[is_answer_ST]
        # An unnamed defect has class -1 and costs nothing.
        logits_ND = self.defect(piece.hidden_STH[is_answer_ST])
        defect_N = F.cross_entropy(logits_ND, classes_N, reduction="none", ignore_index=-1)
        # Asked half-way through the layers, so that the later ones can sum the answers up.
        middle_NH = F.layer_norm(piece.middle_STH[is_answer_ST], piece.middle_STH.shape[-1:])
        copies_NO = copies_STO(piece.ids_ST, starts_S)[is_answer_ST].float()
        copies_N = F.binary_cross_entropy_with_logits(self.copies(middle_NH), copies_NO, reduction="none").sum(1)
        return defect_N + copies_N


def copies_STO(ids_ST: Tensor, starts_S: Tensor) -> Tensor:  # noqa: N802 - the dimension suffix names its shape
    """Say of each token whether the same id occurs in the prompt, and earlier in the answer.

    Args:
        ids_ST: Token ids.
        starts_S: Where each row's answer begins.

    Returns:
        Booleans [S, T, 2]; meaningful for tokens of the answer.
    """
    num_tokens = ids_ST.shape[1]
    same_STT = ids_ST.unsqueeze(2) == ids_ST.unsqueeze(1)
    is_prompt_ST = torch.arange(num_tokens) < starts_S.unsqueeze(1)
    in_prompt_ST = (same_STT & is_prompt_ST.unsqueeze(1)).any(2)
    earlier_TT = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril(-1)
    in_answer_ST = (same_STT & earlier_TT & ~is_prompt_ST.unsqueeze(1)).any(2)
    return torch.stack([in_prompt_ST, in_answer_ST], dim=2)


def targets_of(ranking: EncodedRanking) -> list[tuple[int, int]]:
    """Give for each row where its answer begins and the class of its defect, -1 where nobody said."""
    classes = [_CLASSES[defect] for defect in ranking.defects] or [-1] * len(ranking.rows)
    return [(ranking.num_prompt_tokens, defect_class) for defect_class in classes]
