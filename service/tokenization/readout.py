"""Where the head reads: positions as a function of a pair's ids and the manifest's readout.

Knows neither text nor tensors. What each kind stands for, and which authors use it, is said once, in
`model_store.manifest.ReadoutKind`.
"""

from __future__ import annotations

from collections.abc import Sequence

from model_store.manifest import Readout, ReadoutKind
from service.errors import SettingsError
from service.types import Probe


def read_positions(ids: Sequence[int], readout: Readout) -> tuple[tuple[int, ...], Probe | None]:
    """Finds the positions that the head reads, and the probe where there is one.

    Worked examples with `token_id` 0 and `slot` 8:

        >>> ids = [1, 5, 0, 6, 0]
        >>> read_positions(ids, Readout(ReadoutKind.LAST_TOKEN))
        ((4,), None)
        >>> read_positions(ids, Readout(ReadoutKind.RIGHTMOST_NOT_ID, token_id=0))
        ((3,), None)
        >>> read_positions(ids, Readout(ReadoutKind.BEFORE_FIRST_ID, token_id=0))
        ((1,), None)
        >>> read_positions(ids, Readout(ReadoutKind.FIXED_SLOT, token_id=0, slot=8))
        ((5,), Probe(token_id=0, position=7))

    Args:
        ids: The T token ids of the pair, at least one.
        readout: The manifest's, already admitted by `check_readout`.

    Returns:
        Positions in `ids`, where `len(ids)` stands for the probe; and the probe or None.
    """
    match readout.kind:
        case ReadoutKind.LAST_TOKEN:
            return (len(ids) - 1,), None
        case ReadoutKind.RIGHTMOST_NOT_ID:
            return (_rightmost_not(ids, readout.token_id),), None
        case ReadoutKind.BEFORE_FIRST_ID:
            return (_before_first(ids, readout.token_id),), None
        case ReadoutKind.FIXED_SLOT:
            return _fixed_slot(ids, readout)


def check_readout(readout: Readout, max_tokens: int) -> None:
    """Refuses a readout that lacks what its kind needs, or a slot that a pair could outgrow.

    Raises:
        SettingsError: At start-up, naming the manifest's field and what is allowed.
    """
    if readout.kind is ReadoutKind.LAST_TOKEN:
        return
    if readout.token_id is None:
        raise SettingsError(f"readout.token_id is missing; the kind {readout.kind.value} needs a token id")
    if readout.kind is not ReadoutKind.FIXED_SLOT:
        return
    if readout.slot is None:
        raise SettingsError("readout.slot is missing; the kind fixed_slot needs the row's length in tokens")
    if max_tokens > readout.slot:
        raise SettingsError(
            f"limits.max_tokens is {max_tokens}, readout.slot {readout.slot}: "
            "a row cannot hold more tokens than its slots; set max_tokens to at most slot"
        )


def _rightmost_not(ids: Sequence[int], token_id: int | None) -> int:
    # All ids equal gives 0: transformers 5 takes argmax(position * is_not_pad), whose first maximum is then 0
    # (modeling_layers.py, GenericForSequenceClassification.forward).
    return next((position for position in reversed(range(len(ids))) if ids[position] != token_id), 0)


def _before_first(ids: Sequence[int], token_id: int | None) -> int:
    # The index -1 of an author's tensor is its last column: a first token equal to the id reads the last one.
    first = next((position for position, token in enumerate(ids) if token == token_id), len(ids))
    return (first - 1) % len(ids)


def _fixed_slot(ids: Sequence[int], readout: Readout) -> tuple[tuple[int, ...], Probe | None]:
    token_id, slot = readout.token_id, readout.slot
    if token_id is None or slot is None or len(ids) > slot:
        raise AssertionError(f"{len(ids)} tokens with {readout}: check_readout admits no such pair")
    if len(ids) == slot:
        return (slot - 1,), None
    return (len(ids),), Probe(token_id, slot - 1)
