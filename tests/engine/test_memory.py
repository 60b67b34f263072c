"""The most an engine will be asked to do is done once at start-up, and leaves nothing behind."""

import pytest

from service.engine.memory import longest_pair, peak_bytes
from tests.engine.models import warm


@pytest.mark.parametrize(("max_tokens", "frame_tokens"), [(4096, 2048), (1000, 2048), (1000, 96), (4097, 600)])
def test_the_longest_pair_is_all_there_in_frames_that_fit(max_tokens, frame_tokens):
    frames = list(longest_pair(max_tokens, frame_tokens, vocab_size=10))
    kept = 0
    for frame in frames:
        assert frame.num_tokens <= frame_tokens
        assert frame.position_ids[0] == kept == sum(map(lengths_of(frames).__getitem__, frame.prefixes[0]))
        kept += frame.num_tokens

    assert kept == max_tokens


def lengths_of(frames):
    """Tokens kept under each slot."""
    return {
        store.slot: frame.chunk_bounds[store.chunk + 1] - frame.chunk_bounds[store.chunk]
        for frame in frames
        for store in frame.stores
    }


def test_nothing_stays_kept_after_the_start():
    assert len(warm("qwen2")._kept) == 0


def test_the_peak_holds_at_least_what_is_in_memory_now():
    block = bytearray(64 * 2**20)
    assert peak_bytes("cpu") >= len(block)
