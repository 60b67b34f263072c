"""Where the head reads: positions as a function of a pair's ids and the manifest's readout.

Knows neither text nor tensors. What each kind stands for, and which authors use it, is said once, in
`model_store.manifest.ReadoutKind`.
"""

from __future__ import annotations

from collections.abc import Sequence

from model_store.manifest import Readout, ReadoutKind
from service.errors import BadConversation, SettingsError
from service.types import Probe


def read_positions(ids: Sequence[int], readout: Readout, response_at: int = 0) -> tuple[tuple[int, ...], Probe | None]:
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
        >>> read_positions(ids, Readout(ReadoutKind.EVERY_ID, token_id=0))
        ((2, 4), None)
        >>> read_positions(ids, Readout(gate_marker=(0, 6)))
        ((4, 2), None)

    Args:
        ids: The T token ids of the pair, at least one.
        readout: The manifest's, already admitted by `check_readout`.
        response_at: Where the response begins; looked at only where the readout says `in_response`.

    Returns:
        Positions in `ids`, where `len(ids)` stands for the probe, the gate's last; and the probe or None.

    Raises:
        BadConversation: If the pair holds no token that has to be read at, or no marker for the gate.
    """
    if readout.kind is ReadoutKind.FIXED_SLOT:
        reads, probe = _fixed_slot(ids, readout)
    else:
        reads, probe = _reads(ids, readout, response_at), None
    return (*reads, *_gate_position(ids, readout.gate_marker)), probe


def with_appended_id(ids: tuple[int, ...], readout: Readout) -> tuple[int, ...]:
    """Ids that end with the token that `appended_id` reads; for other kinds, the ids as they are."""
    if readout.kind is not ReadoutKind.APPENDED_ID or readout.token_id is None or ids[-1:] == (readout.token_id,):
        return ids
    return (*ids, readout.token_id)


def _reads(ids: Sequence[int], readout: Readout, response_at: int) -> tuple[int, ...]:
    match readout.kind:
        case ReadoutKind.RIGHTMOST_NOT_ID:
            return (_rightmost_not(ids, readout.token_id),)
        case ReadoutKind.BEFORE_FIRST_ID:
            return (_before_first(ids, readout.token_id),)
        case ReadoutKind.EVERY_ID:
            return _occurrences(ids, readout.token_id, response_at if readout.in_response else 0)
        case ReadoutKind.LAST_OF_ID:
            return _occurrences(ids, readout.token_id)[-1:]
        case ReadoutKind.FIRST_TOKEN:
            return (0,)
        case _:  # the last token, also where it is the appended one
            return (len(ids) - 1,)


def _occurrences(ids: Sequence[int], token_id: int | None, start: int = 0) -> tuple[int, ...]:
    found = tuple(position for position in range(start, len(ids)) if ids[position] == token_id)
    if not found:
        raise BadConversation(
            f"the {'response' if start else 'pair'} holds no token {token_id}, and this model reads its values there"
        )
    return found


def _gate_position(ids: Sequence[int], marker: tuple[int, ...]) -> tuple[int, ...]:
    """Where the last occurrence of the marker begins; nothing for a model without one."""
    if not marker:
        return ()
    for start in range(len(ids) - len(marker), -1, -1):
        if tuple(ids[start : start + len(marker)]) == marker:
            return (start,)
    raise BadConversation(f"the pair holds no assistant header (ids {list(marker)}), where this model's gate reads")


def check_readout(readout: Readout, max_tokens: int) -> None:
    """Refuses a readout that lacks what its kind needs, or a slot that a pair could outgrow.

    Raises:
        SettingsError: At start-up, naming the manifest's field and what is allowed.
    """
    if readout.kind in (ReadoutKind.LAST_TOKEN, ReadoutKind.FIRST_TOKEN):
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
