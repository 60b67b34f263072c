"""Cuts are a function of ids alone: they cover the pair, keep to the grid, and mark every marker."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.tokenization.cuts import cut_points, marker_ends
from tests.tokenization.properties import seeded

ids_lists = st.lists(st.integers(0, 3), max_size=60)
marker_lists = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=3)
chunk_sizes = st.integers(1, 20)


def chunks(ids: list[int], cuts: tuple[int, ...]) -> list[list[int]]:
    return [ids[start:end] for start, end in pairwise([*cuts, len(ids)])]


@seeded
@given(ids_lists, marker_lists, chunk_sizes)
def test_chunks_laid_end_to_end_are_the_pair(ids: list[int], markers: list[list[int]], size: int) -> None:
    cuts = cut_points(ids, markers, size)

    assert cuts[0] == 0
    assert list(cuts) == sorted(set(cuts))
    assert [token for chunk in chunks(ids, cuts) for token in chunk] == ids


@seeded
@given(ids_lists, marker_lists, chunk_sizes)
def test_a_cut_stands_after_each_marker_and_on_the_grid_from_there_and_nowhere_else(
    ids: list[int], markers: list[list[int]], size: int
) -> None:
    ends = {
        start + len(marker)
        for marker in markers
        for start in range(len(ids))
        if ids[start : start + len(marker)] == marker
    }
    since_anchor, expected = 0, []
    for position in range(len(ids)):
        since_anchor = 0 if position in ends else since_anchor
        expected += [position] if since_anchor % size == 0 else []
        since_anchor += 1

    assert cut_points(ids, markers, size) == (tuple(expected) or (0,))


@seeded
@given(ids_lists, marker_lists, chunk_sizes)
def test_a_chunk_alone_is_not_cut_further(ids: list[int], markers: list[list[int]], size: int) -> None:
    for chunk in chunks(ids, cut_points(ids, markers, size)):
        assert cut_points(chunk, markers, size) == (0,)


@seeded
@given(ids_lists, ids_lists, ids_lists, marker_lists, chunk_sizes)
def test_pairs_with_the_same_beginning_have_the_same_cuts_in_it(
    shared: list[int], left: list[int], right: list[int], markers: list[list[int]], size: int
) -> None:
    cuts_left, cuts_right = (
        [cut for cut in cut_points(shared + rest, markers, size) if cut < len(shared)] for rest in (left, right)
    )

    assert cuts_left == cuts_right


def test_a_marker_at_the_very_end_is_no_cut() -> None:
    assert cut_points([5, 7, 8], [(7, 8)], 10) == (0,)


def test_overlapping_markers_all_count() -> None:
    assert marker_ends([7, 7, 7], [(7, 7)]) == {2, 3}


def test_without_markers_there_is_the_grid_only() -> None:
    assert cut_points(range(10), (), 4) == (0, 4, 8)
