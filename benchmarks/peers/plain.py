"""transformers alone on the same checkpoint: one pair at a time (the oracle), and padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from benchmarks.peers.checkpoint import Text


class Plain:
    """A sequence classifier in fp32, called as its documentation says."""

    def __init__(self, folder: Path, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self.model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def scores(self, texts: Sequence[Text], batch_size: int, *, pads_left: bool = False) -> list[float]:
        """Scores in the order given, `batch_size` at a time, padded to the longest of each batch."""
        scores: list[float] = []
        for start in range(0, len(texts), batch_size):
            scores += self._batch([text.ids for text in texts[start : start + batch_size]], pads_left)
        return scores

    def _batch(self, batch: Sequence[tuple[int, ...]], pads_left: bool) -> list[float]:
        longest, pad = max(map(len, batch)), self.model.config.pad_token_id
        fill = [[pad] * (longest - len(ids)) for ids in batch]
        rows = [[*gap, *ids] if pads_left else [*ids, *gap] for ids, gap in zip(batch, fill, strict=True)]
        ones = [[1] * len(ids) for ids in batch]
        zeros = [[0] * len(gap) for gap in fill]
        mask = torch.tensor([[*z, *o] if pads_left else [*o, *z] for o, z in zip(ones, zeros, strict=True)])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        hidden = self.model.model(
            input_ids=torch.tensor(rows), attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        last = torch.tensor([longest - 1 if pads_left else len(ids) - 1 for ids in batch])
        read = hidden[torch.arange(len(batch)), last]
        return [float(score) for score in self.model.score(read)[:, 0]]
