import random

import pytest

from service.engine.fake import fake_score
from service.frame import Frame
from service.scheduling.packing import FrameBuilder
from service.types import Probe
from tests.pairs import encoded, job, random_group


def packed(pairs, budget_tokens=10_000):
    builder = FrameBuilder(budget_tokens)
    for number, pair in enumerate(pairs):
        assert builder.try_add(job(number, pair))
    return builder.build()


def chain_of(frame: Frame, row: int) -> list[int]:
    """The rows a row may attend to, itself included, worked out afresh from the frame's own words."""
    chunk = next(c for c in range(len(frame.parents)) if frame.chunk_bounds[c] <= row < frame.chunk_bounds[c + 1])
    rows = list(range(frame.chunk_bounds[chunk], row + 1))
    while frame.parents[chunk] >= 0:
        chunk = frame.parents[chunk]
        rows = [*range(frame.chunk_bounds[chunk], frame.chunk_bounds[chunk + 1]), *rows]
    return rows


def test_a_lone_pair_becomes_a_chain_of_its_chunks():
    frame = packed([encoded([1, 2, 3], [4, 5])]).frame

    assert frame == Frame(
        token_ids=(1, 2, 3, 4, 5),
        position_ids=(0, 1, 2, 3, 4),
        chunk_bounds=(0, 3, 5),
        parents=(-1, 0),
        sees_itself=(True, True),
        read_rows=(4,),
        read_bounds=(0, 1),
        prefixes=((), ()),
    )


def test_responses_to_one_prompt_share_its_chunk():
    frame = packed([encoded([1, 2, 3], [4, 5]), encoded([1, 2, 3], [6])]).frame

    assert frame.token_ids == (1, 2, 3, 4, 5, 6)
    assert frame.position_ids == (0, 1, 2, 3, 4, 3)
    assert frame.parents == (-1, 0, 0)
    assert frame.read_rows == (4, 5)


def test_a_longer_conversation_shares_the_earlier_turns():
    short = encoded([1, 2, 3], [4, 5])
    long = encoded([1, 2, 3, 4, 5, 7], [8])
    long = type(long)(long.ids, (0, 3, 5, 6), long.reads, None, 6, 1)

    result = packed([short, long])

    assert result.frame.token_ids == (1, 2, 3, 4, 5, 7, 8)
    assert [taken.computed_tokens for taken in result.jobs] == [5, 2]
    assert [taken.reused_tokens for taken in result.jobs] == [0, 5]


def test_equal_chunks_under_different_parents_are_not_shared():
    frame = packed([encoded([1], [9, 9]), encoded([2], [9, 9])]).frame

    assert frame.token_ids == (1, 9, 9, 2, 9, 9)


def test_an_identical_pair_costs_nothing_and_reads_the_same_row():
    pair = encoded([1, 2], [3])
    result = packed([pair, pair])

    assert result.frame.read_rows == (2, 2)
    assert [taken.computed_tokens for taken in result.jobs] == [3, 0]


def test_a_probe_is_a_chunk_of_one_token_at_its_own_position_that_does_not_see_itself():
    frame = packed([encoded([1, 2], [3], probe=Probe(token_id=0, position=2047))]).frame

    assert frame.token_ids == (1, 2, 3, 0)
    assert frame.position_ids == (0, 1, 2, 2047)
    assert frame.sees_itself == (True, True, False)
    assert frame.read_rows == (3,)


def test_a_probe_is_not_charged_as_a_real_token():
    result = packed([encoded([1, 2], [3], probe=Probe(0, 9))] * 2)

    assert [taken.computed_tokens for taken in result.jobs] == [3, 0]
    assert [taken.reused_tokens for taken in result.jobs] == [0, 3]


def test_an_explained_pair_also_reads_its_response_tokens():
    builder = FrameBuilder(100)
    builder.try_add(job(0, encoded([1, 2], [3, 4, 5]), explain=True))

    assert builder.build().frame.read_rows == (4, 2, 3, 4)


def test_a_job_that_does_not_fit_changes_nothing():
    builder = FrameBuilder(5)
    assert builder.try_add(job(0, encoded([1, 2], [3])))
    before = builder.build()

    assert not builder.try_add(job(1, encoded([4, 5], [6])))

    assert builder.build() == before


def test_a_group_member_that_shares_its_prompt_fits_where_a_stranger_does_not():
    builder = FrameBuilder(5)
    builder.try_add(job(0, encoded([1, 2], [3])))

    assert not builder.try_add(job(1, encoded([7, 8], [9])))
    assert builder.try_add(job(2, encoded([1, 2], [9])))


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_packed_each_read_row_sees_exactly_its_own_pair_in_order(seed):
    rng = random.Random(seed)
    pairs = [pair for _ in range(rng.randint(1, 6)) for pair in random_group(rng, rng.randint(1, 5), vocab_size=4)]
    rng.shuffle(pairs)
    result = packed(pairs)
    frame = result.frame

    for place, taken in enumerate(result.jobs):
        (row,) = frame.read_rows[frame.read_bounds[place] : frame.read_bounds[place + 1]]
        rows = chain_of(frame, row)
        assert tuple(frame.token_ids[r] for r in rows) == taken.job.pair.ids
        assert [frame.position_ids[r] for r in rows] == list(range(len(rows)))
    assert sum(taken.computed_tokens for taken in result.jobs) == frame.num_tokens
    assert all(parent < chunk for chunk, parent in enumerate(frame.parents))


def test_the_fake_engines_score_is_a_function_of_the_ids():
    assert fake_score([1, 2, 3]) == fake_score((1, 2, 3)) != fake_score([1, 2, 4])
