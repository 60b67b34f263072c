"""Readouts as functions of ids, against what the authors' code computes."""

from __future__ import annotations

import pytest
import torch

from model_store.manifest import Readout, ReadoutKind
from service.errors import SettingsError
from service.tokenization.readout import check_readout, read_positions
from service.types import Probe

PAD = 9
LAST = Readout(ReadoutKind.LAST_TOKEN)
RIGHTMOST = Readout(ReadoutKind.RIGHTMOST_NOT_ID, token_id=PAD)
BEFORE_FIRST = Readout(ReadoutKind.BEFORE_FIRST_ID, token_id=PAD)
SLOT = Readout(ReadoutKind.FIXED_SLOT, token_id=PAD, slot=6)

ROWS = [[1], [1, 2, 3], [1, 2, PAD], [1, PAD, 3], [PAD, 2, 3], [PAD, PAD, PAD], [1, PAD, PAD], [PAD]]


@pytest.mark.parametrize("ids", ROWS, ids=str)
def test_the_last_token_is_the_last_whatever_it_is(ids: list[int]) -> None:
    assert read_positions(ids, LAST) == ((len(ids) - 1,), None)


@pytest.mark.parametrize("ids", ROWS, ids=str)
def test_rightmost_not_id_is_what_transformers_5_computes(ids: list[int]) -> None:
    """The expression is that of GenericForSequenceClassification.forward."""
    input_ids = torch.tensor([ids])
    non_pad_mask = (input_ids != PAD).to(torch.int32)
    token_indices = torch.arange(input_ids.shape[-1], dtype=torch.int32)
    expected = int((token_indices * non_pad_mask).argmax(-1))

    assert read_positions(ids, RIGHTMOST) == ((expected,), None)


@pytest.mark.parametrize("ids", ROWS, ids=str)
def test_before_first_id_is_what_transformers_4_computes(ids: list[int]) -> None:
    """First position equal to the id, minus one, modulo the length; the last token if there is none."""
    input_ids = torch.tensor([ids])
    first = torch.eq(input_ids, PAD).int().argmax(-1) - 1
    expected = int(first % input_ids.shape[-1])

    assert read_positions(ids, BEFORE_FIRST) == ((expected,), None)


def test_a_short_row_is_read_at_a_probe_in_its_last_slot() -> None:
    assert read_positions([1, 2, 3], SLOT) == ((3,), Probe(token_id=PAD, position=5))


def test_a_row_one_short_of_full_still_has_its_probe() -> None:
    assert read_positions([1, 2, 3, 4, 5], SLOT) == ((5,), Probe(token_id=PAD, position=5))


def test_a_full_row_is_read_at_its_last_token_without_a_probe() -> None:
    assert read_positions([1, 2, 3, 4, 5, 6], SLOT) == ((5,), None)


def test_a_row_longer_than_its_slots_is_never_scored() -> None:
    with pytest.raises(AssertionError, match="check_readout"):
        read_positions(range(7), SLOT)


@pytest.mark.parametrize(
    ("readout", "message"),
    [
        (Readout(ReadoutKind.RIGHTMOST_NOT_ID), "readout.token_id is missing"),
        (Readout(ReadoutKind.BEFORE_FIRST_ID), "readout.token_id is missing"),
        (Readout(ReadoutKind.FIXED_SLOT, slot=6), "readout.token_id is missing"),
        (Readout(ReadoutKind.FIXED_SLOT, token_id=0), "readout.slot is missing"),
        (Readout(ReadoutKind.FIXED_SLOT, token_id=0, slot=5), "max_tokens is 6, readout.slot 5"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind.value,
)
def test_a_readout_that_could_not_be_computed_is_refused_at_start_up(readout: Readout, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_readout(readout, max_tokens=6)


@pytest.mark.parametrize("readout", [LAST, RIGHTMOST, BEFORE_FIRST, SLOT], ids=lambda r: r.kind.value)
def test_a_complete_readout_is_admitted(readout: Readout) -> None:
    check_readout(readout, max_tokens=6)
