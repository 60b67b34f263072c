"""The most an engine will be asked to do is done once at start-up, and leaves nothing behind."""

import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from service.engine.memory import CHUNK_TOKENS, fits, full_frame_behind, longest_pair, peak_bytes
from service.engine.torch_engine import EngineOptions, TorchEngine
from service.errors import EngineFailure, OutOfMemory
from tests.engine.models import MAX_TOKENS, Served, backbone, head, warm
from tests.engine.test_kept_prefix_bits import Counter, mixed_pairs
from tests.pairs import encoded


@pytest.mark.parametrize(("max_tokens", "frame_tokens"), [(4096, 2048), (1000, 2048), (1000, 96), (4097, 600)])
def test_the_longest_pair_is_all_there_in_frames_that_fit(max_tokens, frame_tokens):
    frames = list(longest_pair(max_tokens, frame_tokens, vocab_size=10))
    kept = 0
    for frame in frames:
        assert frame.num_tokens <= frame_tokens
        assert frame.position_ids[0] == kept == sum(map(lengths_of(frames).__getitem__, frame.prefixes[0]))
        kept += frame.num_tokens

    assert kept == max_tokens


@pytest.mark.parametrize(("max_tokens", "frame_tokens"), [(4096, 2048), (1000, 2048), (4097, 600), (100, 96), (1, 64)])
def test_a_full_frame_goes_on_behind_it_as_far_as_is_legal(max_tokens, frame_tokens):
    kept = lengths_of(list(longest_pair(max_tokens, frame_tokens, vocab_size=10)))
    frame = full_frame_behind(max_tokens, frame_tokens, vocab_size=10)

    assert frame.num_tokens == len(frame.position_ids) == frame.chunk_bounds[-1] == frame_tokens
    assert max(frame.position_ids) < max_tokens
    before = {sum(kept[slot] for slot in slots) for slots in frame.prefixes}
    assert before == {frame.position_ids[0]}
    assert max_tokens - frame.position_ids[0] < 2 * CHUNK_TOKENS


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


class Small:
    """A device that holds frames up to a size: makes a backbone raise where it would not fit."""

    def __init__(self, most_rows):
        self.most_rows = most_rows
        self.tried = []

    def attach(self, model):
        model.register_forward_pre_hook(self._refuse, with_kwargs=True)
        return model

    def _refuse(self, module, args, keywords):
        num_rows = keywords["input_ids"].shape[1]
        self.tried.append(num_rows)
        if num_rows > self.most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def options(most, least):
    return EngineOptions(MAX_TOKENS, most, min_packed_weights=0, min_frame_tokens=least)


def test_frames_shrink_until_the_device_holds_the_longest_pair():
    device, said = Small(most_rows=300), []
    engine = TorchEngine(device.attach(backbone("llama")), head(), options(most=1025, least=65))
    engine.warm_up(said.append)

    info = engine.info()
    assert info.max_frame_tokens == info.frame_sizes[-1] == 256
    assert [words for words in said if "no memory" in words] == [
        "no memory for frames of 1025 tokens: trying 512",
        "no memory for frames of 512 tokens: trying 256",
    ]
    assert max(device.tried) > 300  # it was tried, not guessed
    assert len(engine._kept) == 0


def test_scores_of_an_engine_that_shrank_are_those_of_one_that_did_not():
    """Pairs of more tokens than its frames hold, in parts, and short ones."""
    shrunk = TorchEngine(Small(most_rows=300).attach(backbone("llama")), head(), options(most=1025, least=65))
    shrunk.warm_up(lambda words: None)
    whole = TorchEngine(backbone("llama"), head(), options(most=1025, least=None))
    whole.warm_up(lambda words: None)
    pairs = mixed_pairs(seed=4, num_pairs=30)
    pairs += [encoded([*range(400)], [answer] * 90, grid=32) for answer in range(3)]

    def scores(engine):
        return Counter(Served(engine), budget=engine.info().max_frame_tokens, capacity=4000).score(pairs)

    assert scores(shrunk) == scores(whole)


@pytest.mark.parametrize(("least", "ending"), [(513, "in frames of 513, the smallest that will do"), (None, "of 1025")])
def test_a_device_too_small_for_the_smallest_frames_is_said_with_both_sizes(least, ending):
    engine = TorchEngine(Small(most_rows=300).attach(backbone("llama")), head(), options(most=1025, least=least))

    with pytest.raises(OutOfMemory, match=f"a pair of {MAX_TOKENS} tokens, the longest allowed, .*{ending}$"):
        engine.warm_up(lambda words: None)


def test_what_a_failed_try_held_is_free_again():
    held = []

    def forward():
        tensor = torch.zeros(1000)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("no memory")

    def work():
        """As warm-up runs frames: the future holds the error, the error this frame, this frame the future."""
        with ThreadPoolExecutor(1) as executor:
            done = executor.submit(forward)
            done.result()

    assert not fits(work)
    assert held[0]() is None
    assert fits(lambda: None)


def test_a_failed_try_leaves_an_accelerator_no_peak_to_be_counted(monkeypatch):
    """What has room beside the peak, and the budget that is made from it, is a matter of the frames that fit."""
    done = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: done.append(name))

    def work():
        raise OutOfMemory("no memory")

    assert fits(lambda: None)
    assert done == []
    assert not fits(work)
    assert done == ["empty_cache", "reset_peak_memory_stats"]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def work():
        raise EngineFailure("the forward pass failed")

    with pytest.raises(EngineFailure):
        fits(work)
