"""A bound on the allocator's heaps: told to this process and to those it starts, and never against the user's word."""

import os
import subprocess
import sys

import pytest

from service.cli.allocator import MAX_ARENAS, bound_arenas

ONE_HEAP_A_THREAD = """
import sys, threading
from service.cli.allocator import bound_arenas
if sys.argv[1] == "bound":
    assert bound_arenas({})
barrier = threading.Barrier(12)
def allocate():
    barrier.wait()
    kept = [bytes(1000) for _ in range(2000)]
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
import ctypes
ctypes.CDLL(None).malloc_stats()
"""


def num_arenas(how):
    """As glibc itself reports them on its error output."""
    environ = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", ONE_HEAP_A_THREAD, how]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return sum(line.startswith("Arena ") for line in ended.stderr.splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_stats is glibc's")
def test_threads_share_their_heaps():
    assert num_arenas("bound") <= MAX_ARENAS < num_arenas("unbound")


def test_what_it_starts_is_told():
    environ = {}
    bound_arenas(environ)
    assert environ == {"MALLOC_ARENA_MAX": str(MAX_ARENAS)}


def test_the_users_own_bound_is_kept():
    environ = {"MALLOC_ARENA_MAX": "7"}
    assert not bound_arenas(environ)
    assert environ == {"MALLOC_ARENA_MAX": "7"}
