"""Keeps glibc's allocator from holding more memory than is in use."""

from __future__ import annotations

import ctypes
from collections.abc import MutableMapping

MAX_ARENAS = 2
"""Heaps for all threads together. By default glibc gives each thread its own, up to eight a core, and what is freed
in one serves no other: with the demo model and a full prefix cache, 925 MB were resident where 826 are with two."""

_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def bound_arenas(environ: MutableMapping[str, str]) -> bool:
    """Bounds the heaps of this process and of those it starts, unless the user has; whether the allocator took it.

    Another C library has no `mallopt`, or one that does nothing.
    """
    if "MALLOC_ARENA_MAX" in environ:
        return False
    environ["MALLOC_ARENA_MAX"] = str(MAX_ARENAS)
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, MAX_ARENAS))
    except (OSError, AttributeError):
        return False
