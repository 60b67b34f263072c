"""Rankings as token ids, and ids as right-padded tensors with little padding.

All models trained here are causal, so what stands to the right of a sequence's last token cannot reach it:
right padding needs no attention mask. Sequences of one step are still forwarded in slices of similar length,
because padding costs time. Knows nothing of the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from training.demo_data.answers import Defect
from training.rankings import Ranking
from training.tokenizer import render

__all__ = [
    "DEFECT_CLASSES",
    "EncodedRanking",
    "Slice",
    "batches_of",
    "encode",
    "forward_slices",
    "in_order",
    "reward_S",
    "rewards_of",
]

DEFECT_CLASSES = {defect.value: place for place, defect in enumerate(Defect)}
"""A number for each defect."""
_SLICE_TOKENS = 2048
"""Padded tokens in one forward slice: larger ones fall out of the CPU's cache (6,000 against 7,600 tok/s)."""


@dataclass(frozen=True, slots=True)
class EncodedRanking:
    """A ranking's K rendered conversations as token ids, best first.

    Attributes:
        rows: Token ids of each conversation.
        tiers: Rank of each, equal numbers are ties.
        num_prompt_tokens: Where the answers begin, the same in all rows.
        defects: What is wrong with each answer, empty where nobody said.
    """

    rows: tuple[tuple[int, ...], ...]
    tiers: tuple[int, ...]
    num_prompt_tokens: int = 0
    defects: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens in all rows together."""
        return sum(map(len, self.rows))

    @property
    def classes(self) -> list[int]:
        """The number of each answer's defect, -1 where nobody said."""
        return [DEFECT_CLASSES[defect] for defect in self.defects] or [-1] * len(self.rows)


def encode(tokenizer: PreTrainedTokenizerFast, rankings: Iterable[Ranking], max_tokens: int) -> list[EncodedRanking]:
    """Render and tokenize rankings; those with a row of more than `max_tokens` are left out."""
    encoded = []
    for ranking in rankings:
        texts = [render(tokenizer, ranking.messages, answer) for answer in ranking.answers]
        rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
        if max(map(len, rows)) <= max_tokens:
            num_prompt = _num_shared(rows)
            encoded.append(EncodedRanking(tuple(map(tuple, rows)), ranking.tiers, num_prompt, ranking.defects))
    return encoded


def _num_shared(rows: list[list[int]]) -> int:
    """Count the leading tokens that all rows share: the prompt, and seldom a first word of all answers."""
    columns = enumerate(zip(*rows, strict=False))
    return next((place for place, column in columns if len(set(column)) > 1), min(map(len, rows)))


def batches_of(rankings: Iterable[EncodedRanking], batch_tokens: int) -> Iterator[list[EncodedRanking]]:
    """Yield every ranking once, in order, in batches of about `batch_tokens` and of one K each."""
    open_batches: dict[int, list[EncodedRanking]] = {}
    for ranking in rankings:
        batch = open_batches.setdefault(len(ranking.rows), [])
        batch.append(ranking)
        if sum(member.num_tokens for member in batch) >= batch_tokens:
            yield open_batches.pop(len(ranking.rows))
    yield from open_batches.values()


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows of similar length after the forward pass.

    Attributes:
        rows: Which rows of the step these are.
        ids_ST: Their token ids, padded on the right.
        lengths_S: How many of them are real.
        hidden_STH: Final hidden states, after the last norm.
    """

    rows: list[int]
    ids_ST: Tensor
    lengths_S: Tensor
    hidden_STH: Tensor

    @property
    def last_SH(self) -> Tensor:  # noqa: N802 - the dimension suffix names its shape
        """Hidden states at each row's last token, where the reward is read."""
        return self.hidden_STH[torch.arange(len(self.rows)), self.lengths_S - 1]


def forward_slices(model: PreTrainedModel, rows: Sequence[tuple[int, ...]]) -> Iterator[Slice]:
    """Put rows of token ids through a causal model, shortest first, in slices of similar length."""
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for piece in _slices(by_length, rows):
        lengths_S = torch.tensor([len(rows[index]) for index in piece])
        ids_ST = torch.zeros(len(piece), int(lengths_S.max()), dtype=torch.long)
        for place, index in enumerate(piece):
            ids_ST[place, : len(rows[index])] = torch.tensor(rows[index])
        output = model.base_model(input_ids=ids_ST, use_cache=False)
        yield Slice(piece, ids_ST, lengths_S, output.last_hidden_state)


def _slices(by_length: list[int], rows: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    piece: list[int] = []
    for index in by_length:
        if piece and len(rows[index]) * (len(piece) + 1) > _SLICE_TOKENS:
            yield piece
            piece = []
        piece.append(index)
    yield piece


def rewards_of(model: PreTrainedModel, rows: Sequence[tuple[int, ...]]) -> Tensor:
    """Score rows of token ids: the one-number head at the last token, in fp32, in the order of the rows."""
    return in_order([(piece.rows, reward_S(model, piece)) for piece in forward_slices(model, rows)])


def reward_S(model: PreTrainedModel, piece: Slice) -> Tensor:  # noqa: N802 - shape suffix
    """Read the rewards of a slice."""
    head: torch.nn.Module = model.get_submodule("score")
    reward_S1: Tensor = head(piece.last_SH)
    return reward_S1.squeeze(-1).float()


def in_order(pieces: Iterable[tuple[list[int], Tensor]]) -> Tensor:
    """Put values of slices back into the order of the rows."""
    rows, values = zip(*pieces, strict=True)
    order = torch.tensor([row for piece in rows for row in piece])
    return torch.cat(values)[order.argsort()]
