"""What a model keeps and how large its frames are, on the processor and on accelerators that are made up here."""

from types import SimpleNamespace

import pytest
import torch

from service.engine.devices import CPU_FRAME_TOKENS, CUDA_FRAME_TOKENS
from service.engine.memory import peak_bytes
from service.errors import SettingsError
from service.model_memory import USABLE_ROOM, WORKING_BYTES, ModelMemory, Promised
from service.settings import Settings
from tests.engine.models import backbone

MAX_TOKENS = 4096
BYTES_PER_TOKEN = 2 * 3 * 6 * 16 * 4
"""Keys and values of three layers of six heads of 16 fp32 numbers."""
MIB = 2**20


def memory(device="cpu", family="llama", **settings):
    manifest = SimpleNamespace(backbone=SimpleNamespace(family=family))
    weights = SimpleNamespace(backbone=backbone("llama"), manifest=manifest)
    return ModelMemory.of(weights, MAX_TOKENS, Settings(models=["demo"], **settings), device)


@pytest.fixture
def device(monkeypatch):
    """An accelerator of 1,000 MiB, 600 of them free, of which this process holds 300 and once held 320."""
    facts = {
        "mem_get_info": (600 * MIB, 1000 * MIB),
        "memory_reserved": 300 * MIB,
        "max_memory_reserved": 320 * MIB,
        "memory_allocated": 200 * MIB,
        "max_memory_allocated": 290 * MIB,
        "get_device_properties": SimpleNamespace(total_memory=1000 * MIB),
    }
    for name in facts:
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: facts[name])
    return facts


def test_on_the_processor_all_that_is_wanted_is_kept():
    plan = memory()
    kept = plan.kept_tokens(promised := Promised())

    assert plan.kept_bytes_per_token == BYTES_PER_TOKEN
    assert kept == plan.wanted_tokens == 2**28 // BYTES_PER_TOKEN
    assert plan.budget_bytes(kept) == peak_bytes("cpu") + kept * BYTES_PER_TOKEN + WORKING_BYTES
    assert promised.num_bytes == kept * BYTES_PER_TOKEN
    assert memory(prefix_cache_tokens=10**9).kept_tokens(Promised()) == 10**9


def test_a_family_that_is_not_packed_keeps_nothing(device):
    plan = memory("cuda:0", family="deberta-v2")

    assert plan.kept_tokens(Promised()) == 0
    assert plan.engine_options().max_frame_tokens == CUDA_FRAME_TOKENS


def test_an_accelerator_keeps_its_share_where_there_is_room(device):
    assert memory("cuda:0").kept_tokens(Promised()) == int(1000 * MIB * 0.15) // BYTES_PER_TOKEN


def test_it_keeps_no_more_than_has_room_beside_what_was_in_use_at_most(device):
    """The longest pair was kept while the engine warmed up; only what goes beyond it needs new room."""
    device["mem_get_info"] = (120 * MIB, 1000 * MIB)
    kept = memory("cuda:0").kept_tokens(Promised())

    assert kept == MAX_TOKENS + int((120 + 300 - 320) * MIB * USABLE_ROOM) // BYTES_PER_TOKEN
    device["mem_get_info"] = (0, 1000 * MIB)
    assert memory("cuda:0").kept_tokens(Promised()) == MAX_TOKENS


def test_a_later_model_leaves_the_earlier_ones_what_they_were_promised(device):
    device["mem_get_info"] = (320 * MIB, 1000 * MIB)
    promised = Promised()
    first, second = memory("cuda:0").kept_tokens(promised), memory("cuda:0").kept_tokens(promised)

    passing = (290 - 200) * MIB
    assert first == int(1000 * MIB * 0.15) // BYTES_PER_TOKEN
    left = 300 * MIB - first * BYTES_PER_TOKEN - passing
    assert second == MAX_TOKENS + int(left * USABLE_ROOM) // BYTES_PER_TOKEN
    assert second < first
    assert promised.num_bytes == (first + second) * BYTES_PER_TOKEN + 2 * passing


def test_a_number_that_the_device_has_no_room_for_is_refused_with_what_it_has_room_for(device):
    device["mem_get_info"] = (120 * MIB, 1000 * MIB)
    most = MAX_TOKENS + int(100 * MIB * USABLE_ROOM) // BYTES_PER_TOKEN

    assert memory("cuda:0", prefix_cache_tokens=most).kept_tokens(Promised()) == most
    with pytest.raises(SettingsError, match=f"given {most + 1}; beside weights and frames cuda:0 has room for {most}"):
        memory("cuda:0", prefix_cache_tokens=most + 1).kept_tokens(Promised())


def test_nothing_is_kept_if_that_is_asked_for(device):
    assert memory("cuda:0", prefix_cache_tokens=0).kept_tokens(Promised()) == 0


def test_frames_may_shrink_to_a_chunk_and_its_probe_unless_their_size_was_given():
    options = memory().engine_options()
    assert (options.max_frame_tokens, options.min_frame_tokens) == (CPU_FRAME_TOKENS, 513)
    given = memory(max_frame_tokens=2048).engine_options()
    assert (given.max_frame_tokens, given.min_frame_tokens) == (2048, None)


def test_frames_hold_the_longest_pair_if_its_parts_cannot_be_kept():
    options = memory(prefix_cache_tokens=100).engine_options()
    assert (options.max_frame_tokens, options.min_frame_tokens) == (MAX_TOKENS + 1, MAX_TOKENS + 1)
