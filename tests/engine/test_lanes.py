"""Frames on a core each, and one frame on all: the same bits, whoever computes what beside whom."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch

from benchmarks.engine_frames import FrameRunner
from service.engine.lanes import BLOCK_ROWS, Lanes, even
from service.engine.prefix_slots import PrefixSlots
from service.engine.protocol import PrefixLost
from service.engine.quantized_linear import quantize
from service.engine.torch_engine import TorchEngine
from service.errors import EngineFailure
from service.scheduling.batcher import FrameLimits, take_frame
from service.scheduling.prefix_directory import PrefixDirectory
from service.scheduling.waiting_line import WaitingLine
from tests.engine.models import OPTIONS, backbone, empty, head, served
from tests.engine.test_kept_prefix_bits import alone, mixed_pairs
from tests.pairs import encoded, job


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize(
    "capacity",
    [400, pytest.param(0, marks=pytest.mark.long), pytest.param(10**6, marks=pytest.mark.long)],
    ids=["evicting", "nothing kept", "all kept"],
)
def test_frames_that_run_at_the_same_time_give_each_pair_its_lone_score(model, capacity):
    pairs = mixed_pairs(seed=7, num_pairs=40)
    expected = alone(model, pairs)
    runner = FrameRunner(model.engine, capacity, max_frame_tokens=192)

    assert model.engine.num_lanes == (2 if model.engine._linear else 1)
    for _ in range(2):
        assert runner.scores(pairs)[0] == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_number_of_cores_changes_no_bit(family, dtype):
    """And so no fingerprint: what an operation computes with is one thread."""
    pairs = mixed_pairs(seed=8, num_pairs=30)

    def scores(num_threads):
        engine = TorchEngine(backbone(family, dtype), head(), replace(OPTIONS, num_threads=num_threads))
        engine.warm_up(lambda words: None)
        assert engine.num_lanes == num_threads
        return FrameRunner(engine, 10**6).scores(pairs)[0], engine.info().numeric_mode

    one = scores(1)
    assert scores(2) == one
    assert scores(3) == one


def test_quantized_maps_share_memory_and_so_run_one_frame_at_a_time():
    model = backbone("llama")
    engine = TorchEngine(model, head(), OPTIONS)
    assert engine.num_lanes == 2

    quantize(model, "int8")
    engine.warm_up(lambda words: None)
    assert engine.num_lanes == 1
    assert engine.info().numeric_mode["threads"] == "2"


def two_frames(pairs):
    """Packed frames of one pair each, the second of which relies on what the first stores."""
    line, directory = WaitingLine(), PrefixDirectory(10**6)
    for number, pair in enumerate(pairs):
        line.enqueue(job(number, pair))
    limits = FrameLimits(1024, max_pairs=1)
    frames = [take_frame(line, limits, 0.0, directory).frame for _ in pairs]
    assert frames[1].prefixes[0]
    assert {store.slot for store in frames[0].stores} >= set(frames[1].prefixes[0])
    return frames


PAIRS = [encoded(range(100, 180), [1, 2, 3]), encoded(range(100, 180), [4, 5, 6])]


@pytest.fixture
def engine():
    engine = served("llama").engine
    yield engine
    empty(engine)


def test_a_frame_waits_for_what_an_earlier_one_computes(engine):
    expected = alone(served("llama"), PAIRS)
    first, second = (engine.begin(frame) for frame in two_frames(PAIRS))
    with ThreadPoolExecutor(1) as executor:
        later = executor.submit(second)
        wait_until_nobody_runs(engine)
        assert not later.done()
        (reward,) = first()

    assert [reward.score, later.result()[0].score] == expected


def wait_until_nobody_runs(engine):
    """A frame that waits for another is counted out, so that the other may have its core."""
    until = time.monotonic() + 10
    while engine._lanes._running or not engine._kept._changed._waiters:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_frame_whose_prefix_is_lost_while_it_waits_says_so(engine, monkeypatch):
    first, second = (engine.begin(frame) for frame in two_frames(PAIRS))
    with ThreadPoolExecutor(1) as executor:
        later = executor.submit(second)
        wait_until_nobody_runs(engine)
        monkeypatch.setattr(engine, "_rewards", raise_once)
        with pytest.raises(EngineFailure, match="injected"):
            first()
        with pytest.raises(PrefixLost):
            later.result(10)

    assert len(engine._kept) == 0


def raise_once(frame, ahead):
    raise RuntimeError("injected")


class Waits(Exception):
    """Raised instead of waiting."""


@pytest.mark.parametrize(("num_rows", "num_layers"), [(1, 7), (2, 6), (4, 4), (5, 3), (8, 0), (20, 0)])
def test_a_short_frame_begins_so_late_that_it_does_not_catch_up_with_the_long_one_it_reads(num_rows, num_layers):
    """The long one has 8 rows in each of 8 layers."""

    @contextmanager
    def waiting():
        raise Waits
        yield

    slots = PrefixSlots(8, waiting)
    slots.open(3, num_tokens=1, num_rows=8)
    rows = torch.ones(1, 1, 1, 2)
    for layer in range(8):
        with nullcontext() if layer >= num_layers else pytest.raises(Waits):
            slots.wait_to_follow([3], num_rows)
        slots.store(3, layer, rows, rows)
    slots.wait_to_follow([3], num_rows)


def test_kept_rows_are_waited_for():
    slots = PrefixSlots(1)
    slots.open(3, num_tokens=2, num_rows=2)
    like = torch.ones(2, 4)
    with ThreadPoolExecutor(1) as executor:
        hidden = executor.submit(slots.hidden, [3], like)
        slots.store_hidden(3, like * 2)

        assert torch.equal(hidden.result(10), like * 2)


def test_blocks_are_whole_multiples_and_leave_no_row_out():
    lanes = Lanes(3, min_shared_work=0)
    for num_rows in (1, 31, 32, 33, 64, 95, 96, 1024, 1025):
        blocks = lanes.rows(num_rows, row_work=1)

        assert [row for block in blocks for row in range(num_rows)[block]] == list(range(num_rows))
        assert all(block.start % BLOCK_ROWS == 0 for block in blocks)
        assert len(blocks) == min(3, -(-num_rows // BLOCK_ROWS))


def test_a_frame_with_little_work_or_with_company_keeps_to_its_own_core():
    assert len(Lanes(2, min_shared_work=1000).rows(64, row_work=10)) == 1
    assert len(Lanes(2, min_shared_work=1000).rows(640, row_work=10)) == 2

    lanes = Lanes(4, min_shared_work=0)
    with lanes.entered():
        assert lanes.width == 4
        with lanes.entered():
            assert lanes.width == 2
            with lanes.left():
                assert lanes.width == 4
    assert even(7, 3) == [slice(0, 2), slice(2, 4), slice(4, 7)]


def test_parts_come_back_in_order_and_helpers_compute_without_gradients():
    lanes = Lanes(3)
    seen = set()

    def work(part):
        seen.add(threading.get_ident())
        return part * 10, torch.is_inference_mode_enabled()

    with torch.inference_mode():
        for _ in range(50):
            assert lanes.each([1, 2, 3], work) == [(10, True), (20, True), (30, True)]
    assert len(seen) > 1
    lanes.close()


@pytest.mark.parametrize("error", [RuntimeError("injected"), MemoryError(), SystemExit(1)], ids=repr)
def test_an_error_of_a_helper_is_the_frames_error_once_all_parts_are_done(error):
    lanes, done = Lanes(2), []

    def work(part):
        if part == 2:
            raise error
        time.sleep(0.01)
        done.append(part)

    with pytest.raises(type(error)):
        lanes.each([1, 2], work)
    assert done == [1]
    assert lanes.each([3, 4], str) == ["3", "4"]
    lanes.close()
