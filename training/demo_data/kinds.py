"""All kinds of checkable questions, by split."""

from __future__ import annotations

from collections.abc import Mapping

from training.demo_data.checkable import Draw
from training.demo_data.kinds_lookup import LOOKUP_KINDS
from training.demo_data.kinds_order import ORDER_KINDS
from training.demo_data.kinds_train import LIST_KINDS
from training.demo_data.kinds_unseen import HELD_OUT_KINDS, TEST_KINDS
from training.demo_data.lexicon import Split

__all__ = ["HELD_OUT_KINDS", "TEST_KINDS", "TRAIN_KINDS", "kinds_of"]

TRAIN_KINDS: Mapping[str, Draw] = {**LIST_KINDS, **LOOKUP_KINDS, **ORDER_KINDS}
"""Kinds the model is trained on."""


def kinds_of(split: Split) -> Mapping[str, Draw]:
    """Give the checkable kinds of a split."""
    return {Split.TRAIN: TRAIN_KINDS, Split.HELD_OUT: HELD_OUT_KINDS, Split.TEST: TEST_KINDS}[split]
