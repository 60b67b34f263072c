"""Where a pair is cut into chunks: a function of its ids alone.

The same ids give the same cuts whether they came as text, messages, a rendered string or token ids; so a lone
pair and one that shares its prompt with others are computed with the same attention shapes. Knows neither
text nor templates; markers arrive as ids (`template_facts.py` derives them).
"""

from __future__ import annotations

from collections.abc import Sequence


def cut_points(ids: Sequence[int], markers: Sequence[Sequence[int]], chunk_tokens: int) -> tuple[int, ...]:
    """Finds the starts of the chunks of one pair.

    A chunk starts at 0, after each occurrence of a marker, and every `chunk_tokens` from each of these until
    the next one. There is no cut at the end. With marker `(7, 8)` and four tokens a chunk:

        >>> cut_points([1, 7, 8, 5, 5, 5, 5, 5, 7, 8, 9], [(7, 8)], 4)
        (0, 3, 7, 10)

    Args:
        ids: The T token ids of the pair.
        markers: Id sequences after whose occurrences a chunk starts; none may be empty.
        chunk_tokens: The most tokens a chunk may have, at least 1.

    Returns:
        The starts, ascending, the first 0; just `(0,)` for no ids at all.
    """
    starts: list[int] = []
    anchor = 0
    for end in (*sorted(marker_ends(ids, markers)), len(ids)):
        starts += range(anchor, end, chunk_tokens)
        anchor = end
    return tuple(starts) or (0,)


def marker_ends(ids: Sequence[int], markers: Sequence[Sequence[int]]) -> set[int]:
    """Positions right after each occurrence of each marker; overlapping occurrences all count."""
    ids_T = tuple(ids)
    ends: set[int] = set()
    for marker in markers:
        ends.update(_ends_of(ids_T, tuple(marker)))
    return ends


def _ends_of(ids: tuple[int, ...], marker: tuple[int, ...]) -> list[int]:
    # tuple.index runs in C: a thousand tokens cost microseconds as long as the marker's first id is rare.
    ends = []
    start, length = -1, len(marker)
    try:
        while True:
            start = ids.index(marker[0], start + 1)
            if ids[start : start + length] == marker:
                ends.append(start + length)
    except ValueError:  # no further one
        return ends
