"""Rankings as rows: each prompt once, then its answers, each blind to the others; short rankings share a row.

Seven answers to one prompt share half of their tokens. Laid out behind each other, with positions that go on from
the prompt and a mask that hides the other answers, they cost one prompt instead of seven and no padding; rewards
are those of the answers alone, but for rounding. Long rankings are cut into several rows. Knows nothing of the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.batches import EncodedRanking

__all__ = ["PackedRow", "States", "forward_packed", "packed_rows"]

_MAX_RANKING_TOKENS = 1200
"""Attention grows with the square: beyond this, a second row with the prompt again is cheaper."""
_SHARED_ROW_TOKENS = 360
"""Rankings share a row up to this: a forward of few tokens is mostly overhead, one of many mostly masked attention."""


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Prompts, each followed by answers to it, as ids.

    Attributes:
        ids_T: Token ids.
        position_T: Each token's position in its own conversation.
        previous_T: The id before each token in its own conversation, -1 before the first.
        prompt_T: The place of the token's prompt among those of this row.
        answer_T: The place of the token's answer among those of this row, -1 in a prompt.
        last_A: Where each answer ends; the reward is read there.
        class_A: Which defect each answer has, -1 where nobody said.
    """

    ids_T: Tensor
    position_T: Tensor
    previous_T: Tensor
    prompt_T: Tensor
    answer_T: Tensor
    last_A: Tensor
    class_A: Tensor

    @property
    def visible_TT(self) -> Tensor:  # noqa: N802 - the dimension suffix names its shape
        """Whether token [i] sees token [j]: what came before in its own conversation, and itself."""
        same_prompt_TT = self.prompt_T.unsqueeze(1) == self.prompt_T
        same_answer_TT = self.answer_T.unsqueeze(1) == self.answer_T
        return (same_prompt_TT & (same_answer_TT | (self.answer_T == -1))).tril()

    @property
    def is_answer_T(self) -> Tensor:  # noqa: N802 - shape suffix
        """Which tokens belong to an answer."""
        return self.answer_T >= 0


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states of a packed row: after the last norm, and half-way through the layers."""

    last_TH: Tensor
    middle_TH: Tensor


def packed_rows(rankings: Iterable[EncodedRanking]) -> Iterator[PackedRow]:
    """Lay out rankings in as few rows as fit, in order: the rows' answers are the rankings' answers, one by one."""
    open_rows: list[PackedRow] = []
    num_tokens = 0
    for ranking in rankings:
        for row in _rows_of(ranking):
            if open_rows and num_tokens + len(row.ids_T) > _SHARED_ROW_TOKENS:
                yield _joined(open_rows)
                open_rows, num_tokens = [], 0
            open_rows.append(row)
            num_tokens += len(row.ids_T)
    if open_rows:
        yield _joined(open_rows)


def _rows_of(ranking: EncodedRanking) -> Iterator[PackedRow]:
    # An answer that begins another one leaves its last token to the answer's side, where the reward is read.
    num_prompt = min(ranking.num_prompt_tokens, min(map(len, ranking.rows)) - 1)
    chosen: list[int] = []
    num_tokens = num_prompt
    for index, row in enumerate(ranking.rows):
        if chosen and num_tokens + len(row) - num_prompt > _MAX_RANKING_TOKENS:
            yield _packed(ranking, num_prompt, chosen)
            chosen, num_tokens = [], num_prompt
        chosen.append(index)
        num_tokens += len(row) - num_prompt
    yield _packed(ranking, num_prompt, chosen)


def _packed(ranking: EncodedRanking, num_prompt: int, chosen: list[int]) -> PackedRow:
    ids = list(ranking.rows[chosen[0]][:num_prompt])
    positions, places, lasts = list(range(num_prompt)), [-1] * num_prompt, []
    previous = [-1, *ids][:num_prompt]
    for place, index in enumerate(chosen):
        answer = ranking.rows[index][num_prompt:]
        previous += [ids[num_prompt - 1] if num_prompt else -1, *answer[:-1]]
        ids += answer
        positions += range(num_prompt, num_prompt + len(answer))
        places += [place] * len(answer)
        lasts.append(len(ids) - 1)
    classes = [ranking.classes[index] for index in chosen]
    prompts = [0] * len(ids)
    return PackedRow(*(torch.tensor(v) for v in (ids, positions, previous, prompts, places, lasts, classes)))


def _joined(rows: list[PackedRow]) -> PackedRow:
    """Put rows behind each other, each blind to the others."""
    shifted = []
    num_tokens = num_answers = 0
    for place, row in enumerate(rows):
        answer_T = torch.where(row.is_answer_T, row.answer_T + num_answers, -1)
        prompt_T, last_A = row.prompt_T + place, row.last_A + num_tokens
        shifted.append((row.ids_T, row.position_T, row.previous_T, prompt_T, answer_T, last_A, row.class_A))
        num_tokens += len(row.ids_T)
        num_answers += len(row.last_A)
    assert len(fields(PackedRow)) == len(shifted[0])
    return PackedRow(*map(torch.cat, zip(*shifted, strict=True)))


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
