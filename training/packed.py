"""A ranking as one row: its prompt once, then every answer, each blind to the others.

Seven answers to one prompt share half of their tokens. Laid out behind each other, with positions that go on from
the prompt and a mask that hides the other answers, they cost one prompt instead of seven and no padding; rewards
are those of the answers alone, but for rounding. Long rankings are cut into several rows. Knows nothing of the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.batches import EncodedRanking

__all__ = ["PackedRow", "States", "forward_packed", "packed_rows"]

_MAX_ROW_TOKENS = 1200
"""Attention grows with the square: beyond this, a second row with the prompt again is cheaper."""


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One prompt and some of its answers as ids.

    Attributes:
        answers: Which answers of the ranking these are.
        ids_T: Token ids.
        position_T: Each token's position in its own conversation.
        segment_T: -1 in the prompt, else the place of the token's answer in `answers`.
        last_A: Where each answer ends; the reward is read there.
    """

    answers: tuple[int, ...]
    ids_T: Tensor
    position_T: Tensor
    segment_T: Tensor
    last_A: Tensor

    @property
    def visible_TT(self) -> Tensor:  # noqa: N802 - the dimension suffix names its shape
        """Whether token [i] sees token [j]: what came before in its own conversation, and itself."""
        segment_T1 = self.segment_T.unsqueeze(1)
        return ((segment_T1 == self.segment_T) | (self.segment_T == -1)).tril()

    @property
    def is_answer_T(self) -> Tensor:  # noqa: N802 - shape suffix
        """Which tokens belong to an answer."""
        return self.segment_T >= 0


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states of a packed row: after the last norm, and half-way through the layers."""

    last_TH: Tensor
    middle_TH: Tensor


def packed_rows(ranking: EncodedRanking) -> Iterator[PackedRow]:
    """Lay out a ranking, in as few rows as fit."""
    # An answer that begins another one leaves its last token to the answer's side, where the reward is read.
    num_prompt = min(ranking.num_prompt_tokens, min(map(len, ranking.rows)) - 1)
    chosen: list[int] = []
    num_tokens = num_prompt
    for index, row in enumerate(ranking.rows):
        if chosen and num_tokens + len(row) - num_prompt > _MAX_ROW_TOKENS:
            yield _packed(ranking, num_prompt, chosen)
            chosen, num_tokens = [], num_prompt
        chosen.append(index)
        num_tokens += len(row) - num_prompt
    yield _packed(ranking, num_prompt, chosen)


def _packed(ranking: EncodedRanking, num_prompt: int, chosen: list[int]) -> PackedRow:
    ids = list(ranking.rows[chosen[0]][:num_prompt])
    positions, segments, lasts = list(range(num_prompt)), [-1] * num_prompt, []
    for place, index in enumerate(chosen):
        answer = ranking.rows[index][num_prompt:]
        ids += answer
        positions += range(num_prompt, num_prompt + len(answer))
        segments += [place] * len(answer)
        lasts.append(len(ids) - 1)
    tensors = (torch.tensor(values) for values in (ids, positions, segments, lasts))
    return PackedRow(tuple(chosen), *tensors)


def forward_packed(model: PreTrainedModel, row: PackedRow) -> tuple[Tensor, States]:
    """Put a packed row through a causal model.

    Returns:
        The reward of each answer [A], fp32, and the hidden states.
    """
    output = model.base_model(
        input_ids=row.ids_T.unsqueeze(0),
        position_ids=row.position_T.unsqueeze(0),
        attention_mask=row.visible_TT[None, None],
        use_cache=False,
        output_hidden_states=True,
    )
    states = States(output.last_hidden_state[0], output.hidden_states[len(output.hidden_states) // 2][0])
    head: torch.nn.Module = model.get_submodule("score")
    reward_A1: Tensor = head(states.last_TH[row.last_A])
    return reward_A1.squeeze(-1).float(), states
