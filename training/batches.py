"""Rankings as token ids, and ids as right-padded tensors with little padding.

All models trained here are causal, so what stands to the right of a sequence's last token cannot reach it:
right padding needs no attention mask. Sequences of one step are still forwarded in slices of similar length,
because padding costs time. Knows nothing of the loss.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from training.rankings import Ranking
from training.tokenizer import render

__all__ = ["EncodedRanking", "encode", "last_hidden_SH", "rewards_of", "shuffled_batches"]

_SLICE_TOKENS = 2048
"""Padded tokens in one forward slice: larger ones fall out of the CPU's cache (6,000 against 7,600 tokens/s)."""


@dataclass(frozen=True, slots=True)
class EncodedRanking:
    """A ranking's K rendered conversations as token ids, best first, with their tiers."""

    rows: tuple[tuple[int, ...], ...]
    tiers: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens in all rows together."""
        return sum(map(len, self.rows))


def encode(
    tokenizer: PreTrainedTokenizerFast, rankings: Iterable[Ranking], max_tokens: int
) -> list[EncodedRanking]:
    """Render and tokenize rankings; those with a row of more than `max_tokens` are left out."""
    encoded = []
    for ranking in rankings:
        texts = [render(tokenizer, ranking.messages, answer) for answer in ranking.answers]
        rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
        if max(map(len, rows)) <= max_tokens:
            encoded.append(EncodedRanking(tuple(map(tuple, rows)), ranking.tiers))
    return encoded


def shuffled_batches(
    rankings: list[EncodedRanking], batch_tokens: int, rng: random.Random
) -> Iterator[list[EncodedRanking]]:
    """Yield every ranking once in random order, in batches of about `batch_tokens` and of one K each."""
    order = rng.sample(rankings, len(rankings))
    open_batches: dict[int, list[EncodedRanking]] = {}
    for ranking in order:
        batch = open_batches.setdefault(len(ranking.rows), [])
        batch.append(ranking)
        if sum(member.num_tokens for member in batch) >= batch_tokens:
            yield open_batches.pop(len(ranking.rows))
    yield from open_batches.values()


def last_hidden_SH(model: PreTrainedModel, rows: list[tuple[int, ...]]) -> Tensor:  # noqa: N802 - shape suffix
    """Give the final hidden state at each row's last token, in the order of the rows."""
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    pieces = []
    for piece in _slices(by_length, rows):
        lengths = torch.tensor([len(rows[index]) for index in piece])
        ids_ST = torch.zeros(len(piece), int(lengths.max()), dtype=torch.long)
        for row, index in enumerate(piece):
            ids_ST[row, : len(rows[index])] = torch.tensor(rows[index])
        hidden_STH = model.base_model(input_ids=ids_ST.to(model.device), use_cache=False).last_hidden_state
        pieces.append(hidden_STH[torch.arange(len(piece)), lengths - 1])
    position = {index: place for place, index in enumerate(by_length)}
    return torch.cat(pieces)[[position[index] for index in range(len(rows))]]


def _slices(by_length: list[int], rows: list[tuple[int, ...]]) -> Iterator[list[int]]:
    piece: list[int] = []
    for index in by_length:
        if piece and len(rows[index]) * (len(piece) + 1) > _SLICE_TOKENS:
            yield piece
            piece = []
        piece.append(index)
    yield piece


def rewards_of(model: PreTrainedModel, rows: list[tuple[int, ...]]) -> Tensor:
    """Score rows of token ids: the one-number head at the last token, in fp32."""
    return model.score(last_hidden_SH(model, rows)).squeeze(-1).float()
