"""Attention of a whole frame in one call, over a reference of it: what CUDA's kernel is told, and what is made of it.

The reference does, run by run, what FlashAttention documents. It calls the processor's attention with the shapes that
the path of chunks calls it with where every row goes on after the last layer's attention, so that both must agree to
the last bit. The kernel itself: `tests/gpu`.
"""

import random
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from service.engine import decoder_layer, run_plan, shortcuts, varlen
from service.engine.protocol import PrefixLost
from service.engine.torch_engine import TorchEngine
from service.engine.varlen import Runs, TorchVarlen
from service.frame import Frame, Store
from service.scheduling.batcher import take_frame
from service.types import Probe
from tests.engine.models import CONFIGS, DTYPES, OPTIONS, Served, backbone, head, served
from tests.engine.test_kept_prefix_bits import Counter, mixed_pairs
from tests.engine.test_kept_prefix_bits import alone as lone
from tests.pairs import encoded, job


class Reference:
    """Causal attention of runs, aligned at the end of queries and keys; counts its calls."""

    takes_groups = True

    def __init__(self):
        self.calls = []

    def __call__(self, query, key, value, runs, *, scaling, window):
        self.calls.append(runs)
        output = torch.full_like(query, torch.nan)  # of torch's kernel: whatever lies there
        bounds = zip(pairwise(runs.query_bounds.tolist()), pairwise(runs.key_bounds.tolist()), strict=True)
        for own, seen in bounds:
            output[slice(*own)] = self._run(query[slice(*own)], key[slice(*seen)], value[slice(*seen)], scaling, window)
        return output

    def _run(self, query, key, value, scaling, window):
        groups = query.shape[1] // key.shape[1]
        key, value = (rows.repeat_interleave(groups, dim=1).transpose(0, 1)[None] for rows in (key, value))
        query = query.transpose(0, 1)[None]
        num_queries, num_keys = query.shape[2], key.shape[2]
        if num_queries == num_keys and (window is None or num_keys <= window):
            return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)[0].transpose(0, 1)
        reach = torch.arange(num_queries)[:, None] + num_keys - num_queries - torch.arange(num_keys)
        hidden = (reach < 0) | (reach >= (window or num_keys))
        mask = torch.zeros(hidden.shape, dtype=query.dtype).masked_fill(hidden, float("-inf"))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
        return attended[0].transpose(0, 1)


class ExpandingReference(Reference):
    """As torch's before it knew grouped queries."""

    takes_groups = False

    def __call__(self, query, key, value, runs, *, scaling, window):
        assert key.shape[1] == query.shape[1]
        return super().__call__(query, key, value, runs, scaling=scaling, window=window)


def warm_with(monkeypatch, reference, family, dtype, progress=lambda words: None):
    served(family, dtype)  # the engine to compare with is made once, and must have no shortcut
    monkeypatch.setattr(shortcuts, "may_take", lambda device, dtype: True)
    monkeypatch.setattr(decoder_layer, "fuse", lambda backbone: False)
    monkeypatch.setattr(varlen, "find", lambda: reference)
    engine = TorchEngine(backbone(family, dtype), head(), OPTIONS)
    engine.warm_up(progress)
    return Served(engine)


def alone(model, pairs):
    """Each pair in a frame of its own, with a query for every row of the last layer."""
    linear, model.engine._linear = model.engine._linear, None
    try:
        return lone(model, pairs)
    finally:
        model.engine._linear = linear


def probed(pairs):
    return [encoded(pair.ids[:-9], pair.ids[-9:], grid=32, probe=Probe(1, 900)) for pair in pairs if len(pair.ids) > 9]


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("mistral-windowed", torch.float32),
        ("gemma3", torch.float32),
        ("qwen3", torch.bfloat16),
        *(pytest.param(family, dtype, marks=pytest.mark.long) for family in CONFIGS for dtype in DTYPES),
    ],
    ids=str,
)
def test_scores_are_those_of_the_path_of_chunks(monkeypatch, family, dtype):
    """Groups, prompts kept and dropped, pairs in parts, and pairs read at a probe, which is blind to itself."""
    reference = Reference()
    model = warm_with(monkeypatch, reference, family, dtype)
    pairs = mixed_pairs(seed=2, num_pairs=30)
    pairs += probed(pairs[:8])
    rng = random.Random(3)
    plain = served(family, dtype)
    assert plain.engine.info().numeric_mode["shortcuts"] == "none"
    expected = alone(plain, pairs)
    counter = Counter(model, budget=96, capacity=400)
    reference.calls.clear()

    for _ in range(3):
        chosen = rng.sample(range(len(pairs)), 15)
        assert counter.score([pairs[i] for i in chosen]) == [expected[i] for i in chosen]
    assert reference.calls
    assert any(not torch.equal(runs.query_bounds, runs.key_bounds) for runs in reference.calls)
    assert model.engine.info().numeric_mode["shortcuts"] == "varlen attention"


@pytest.mark.parametrize(("family", "keys_per_row"), [("mistral-windowed", 0), ("qwen3", 0.3)])
def test_calls_that_would_see_too_many_keys_are_spread(monkeypatch, family, keys_per_row):
    """Of 0: each chunk has a call of its own. Of 0.3: few chunks behind a long prompt share one."""
    reference = Reference()
    model = warm_with(monkeypatch, reference, family, torch.float32)
    pairs = mixed_pairs(seed=7, num_pairs=30)
    pairs += probed(pairs[:4])
    pairs += [encoded([*range(400)], [answer] * 7, grid=64) for answer in range(6)]
    expected = alone(served(family, torch.float32), pairs)
    monkeypatch.setattr(run_plan, "KEYS_PER_ROW", keys_per_row)
    most_keys = keys_per_row * model.engine.info().frame_sizes[-1]
    counter = Counter(model, capacity=400)
    reference.calls.clear()

    assert counter.score(pairs) == expected
    assert counter.score(pairs) == expected
    num_chunks = [len(runs.query_bounds) - 1 for runs in reference.calls]
    assert all(runs.key_bounds[-1] <= most_keys for runs in reference.calls if len(runs.query_bounds) > 2)
    assert (max(num_chunks) > 1) == (keys_per_row > 0)


def test_frames_laid_out_before_what_they_rely_on_is_computed(monkeypatch):
    """As on an accelerator, where a frame is taken in while others run."""
    model = warm_with(monkeypatch, Reference(), "llama", torch.float32)
    model.engine._lays_out_ahead = True
    pairs = mixed_pairs(seed=6, num_pairs=20)
    counter = Counter(model, budget=96, capacity=10**6)
    for number, pair in enumerate(pairs):
        counter.line.enqueue(job(number, pair))

    begun = []
    while (packed := take_frame(counter.line, counter.limits, 0.0, counter.directory)) is not None:
        begun.append((packed, model.engine.begin(packed.frame)))
    scores = {}
    for packed, compute in begun:
        for taken, reward in zip(packed.jobs, compute(), strict=True):
            scores[taken.job.job_id] = reward.score

    assert any(slots for packed, _ in begun for slots in packed.frame.prefixes)
    assert [scores[number] for number in range(len(pairs))] == alone(served("llama", torch.float32), pairs)


def test_a_frame_that_cannot_be_laid_out_keeps_nothing(monkeypatch):
    model = warm_with(monkeypatch, Reference(), "llama", torch.float32)
    model.engine._lays_out_ahead = True
    lost = Frame((1, 2), (3, 4), (0, 2), (-1,), (True,), (1,), (0, 1), prefixes=((77,),), stores=(Store(0, 78),))

    with pytest.raises(PrefixLost, match="77"):
        model.engine.begin(lost)
    assert len(model.engine._kept) == 0


def test_rows_that_nobody_reads_leave_the_last_layer_after_its_attention(monkeypatch):
    model = warm_with(monkeypatch, Reference(), "qwen3", torch.float32)
    last, went_on = model.engine._backbone.layers[-1], []
    after = last.parts.after_attention
    monkeypatch.setattr(last.parts, "after_attention", lambda *rows: went_on.append(len(rows[0])) or after(*rows))
    pairs = [encoded([*range(90)], [answer] * 30, grid=32) for answer in range(3)]

    model.score(pairs)
    assert sum(went_on) == model.engine.info().frame_sizes[0]  # of three rows, filled up


def test_heads_are_repeated_where_groups_are_not_known(monkeypatch):
    model = warm_with(monkeypatch, ExpandingReference(), "qwen3", torch.float32)
    pairs = mixed_pairs(seed=4, num_pairs=10)

    assert Counter(model, capacity=400).score(pairs) == alone(served("qwen3", torch.float32), pairs)


class Wrong(Reference):
    """Causality aligned at the beginning: a chunk behind a prompt would see too little."""

    def _run(self, query, key, value, scaling, window):
        return super()._run(query, key[: len(query)], value[: len(query)], scaling, window)


class Broken(Reference):
    """A kernel that this device has not got."""

    def _run(self, query, key, value, scaling, window):
        raise RuntimeError("no kernel image is available")


@pytest.mark.parametrize(("reference", "words"), [(Wrong(), "differs"), (Broken(), "no kernel image")])
def test_one_that_is_wrong_or_fails_is_not_used_and_the_log_says_why(monkeypatch, reference, words):
    said = []
    model = warm_with(monkeypatch, reference, "llama", torch.float32, said.append)
    pairs = mixed_pairs(seed=5, num_pairs=8)

    assert Counter(model, capacity=400).score(pairs) == lone(served("llama", torch.float32), pairs)
    assert model.engine.info().numeric_mode["shortcuts"] == "none"
    assert any(line.startswith("not taken: varlen attention") and words in line for line in said)


RUNS = Runs(torch.tensor([0, 1, 3]), torch.tensor([0, 4, 6]), 2, 4)


def told(varlen_attn, num_heads=4, window=None):
    """The keywords that torch's function is called with, by name."""
    query, key = torch.zeros(3, num_heads, 8), torch.zeros(6, 2, 8)
    return TorchVarlen(varlen_attn)(query, key, key, RUNS, scaling=0.5, window=window)


def newer(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa=False, num_splits=None
):
    return {
        "scale": scale,
        "window": window_size,
        "groups": enable_gqa,
        "splits": num_splits,
        "longest": (max_q, max_k),
    }


def older(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size):
    return {"scale": scale, "window": window_size}


def test_torch_is_told_not_to_split_keys_and_of_groups_where_it_knows_the_words():
    assert told(newer) == {"scale": 0.5, "window": (-1, 0), "groups": True, "splits": 1, "longest": (2, 4)}
    assert told(newer, num_heads=2, window=7)["groups"] is False
    assert told(newer, window=3)["window"] == (2, 0)
    assert told(older, num_heads=2) == {"scale": 0.5, "window": (-1, 0)}
    assert TorchVarlen(newer).takes_groups
    assert not TorchVarlen(older).takes_groups


def test_a_window_that_no_run_exceeds_is_not_dropped_for_it():
    """FlashAttention-2 drops one of `left >= max_k`, -3 one of `left >= max_k - 1`: other kernels, maybe other bits."""
    for window in (1, 2, 3, 4, 5, 100):
        given = told(newer, window=window)
        assert given["window"][0] < given["longest"][1] - 1
        assert given["longest"][1] >= RUNS.max_keys
    assert told(newer, window=3)["longest"] == (2, 4)
    assert told(newer, window=100)["longest"] == (2, 101)


def test_a_frame_of_single_tokens_does_not_say_so(monkeypatch):
    """FlashAttention would lay grouped queries out in another way and split keys: other bits than among longer runs."""
    reference = Reference()
    model = warm_with(monkeypatch, reference, "qwen3", torch.float32)
    reference.calls.clear()
    model.score([encoded([5], []), encoded([7], [])])

    assert [runs.max_queries for runs in reference.calls] == [2] * len(reference.calls) != []


def test_torch_has_one():
    assert isinstance(varlen.find(), TorchVarlen)
