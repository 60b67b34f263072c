import random

from service.scheduling.jobs import JobId
from service.scheduling.prefix_directory import PrefixDirectory, Started


def keep(directory, *chunks):
    """Reserves a chain of chunks and returns its nodes, or as many as there was room for."""
    nodes = []
    for ids in chunks:
        parent = nodes[-1] if nodes else None
        node = directory.find(parent, ids) or directory.reserve(parent, ids)
        if node is None:
            break
        nodes.append(node)
    return nodes


def test_a_kept_chunk_is_found_under_its_parent_alone():
    directory = PrefixDirectory(100)
    first, second = keep(directory, (1, 2), (3,))

    assert directory.find(None, (1, 2)) is first
    assert directory.find(first, (3,)) is second
    assert directory.find(None, (3,)) is None
    assert directory.num_tokens == 3


def test_without_capacity_nothing_is_kept():
    assert PrefixDirectory().reserve(None, (1,)) is None


def test_the_least_recently_wanted_chunk_makes_room():
    directory = PrefixDirectory(4)
    (old,), (new,) = keep(directory, (1, 1)), keep(directory, (2, 2))
    directory.touch(old)
    keep(directory, (3, 3))

    assert directory.find(None, (1, 1)) is old
    assert directory.find(None, (2, 2)) is None
    assert directory.take_drops() == (new.slot,)
    assert directory.take_drops() == ()
    assert directory.num_evicted_tokens == 2


def test_a_parent_outlives_its_children():
    directory = PrefixDirectory(4)
    parent, _ = keep(directory, (1, 1), (2, 2))
    keep(directory, (3, 3))

    assert directory.find(None, (1, 1)) is parent
    assert directory.find(parent, (2, 2)) is None


def test_what_is_in_use_is_never_evicted_nor_are_its_ancestors():
    directory = PrefixDirectory(4)
    _, leaf = keep(directory, (1, 1), (2, 2))
    directory.pin(leaf)

    assert directory.reserve(None, (3,)) is None
    directory.unpin(leaf)
    assert directory.reserve(None, (3,)) is not None


def test_room_is_not_made_for_what_could_never_fit():
    directory = PrefixDirectory(4)
    (node,) = keep(directory, (1, 1))

    assert directory.reserve(None, (2,) * 5) is None
    assert directory.find(None, (1, 1)) is node


def test_a_chain_never_evicts_its_own_beginning():
    directory = PrefixDirectory(4)

    assert len(keep(directory, (1, 1), (2, 2), (3, 3))) == 2


def test_a_failed_chunk_is_forgotten_with_what_continues_it_even_while_in_use():
    directory = PrefixDirectory(10)
    parent, child = keep(directory, (1,), (2,))
    directory.pin(child)
    directory.forget([parent.slot])

    assert directory.find(None, (1,)) is None
    assert set(directory.take_drops()) == {parent.slot, child.slot}
    assert directory.num_tokens == 0
    assert directory.reserve(parent, (5,)) is None


def test_a_started_job_keeps_its_chain_until_released():
    directory = PrefixDirectory(2)
    (node,) = keep(directory, (1, 1))
    directory.start(JobId(7), Started(node, 2))

    assert directory.reserve(None, (2,)) is None
    assert not directory.release_all_but([JobId(7)])
    assert directory.release_all_but([JobId(8)])
    assert directory.started(JobId(7)) is None
    assert directory.reserve(None, (2,)) is not None


def test_whatever_happens_the_count_is_true_and_the_capacity_kept():
    rng = random.Random(0)
    directory = PrefixDirectory(40)
    alive, pinned = set(), []
    for _ in range(3000):
        chain = keep(directory, *(tuple([rng.randrange(3)] * rng.randint(1, 6)) for _ in range(rng.randint(1, 4))))
        alive |= {node.slot for node in chain}
        if chain and rng.random() < 0.3:
            directory.pin(chain[-1])
            pinned.append(chain[-1])
        if pinned and rng.random() < 0.4:
            directory.unpin(pinned.pop(rng.randrange(len(pinned))))
        if chain and rng.random() < 0.05:
            directory.forget([rng.choice(chain).slot])
        alive -= set(directory.take_drops())
        assert all(node.is_forgotten or node.slot in alive for node in pinned)
        assert directory.num_tokens <= 40
    while pinned:
        directory.unpin(pinned.pop())
    assert directory.reserve(None, (9,) * 40) is not None
    assert directory.num_tokens == 40
