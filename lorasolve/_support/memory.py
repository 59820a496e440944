"""Memory that is used again and again."""

from __future__ import annotations

import ctypes
import functools
import os

# Bytes; glibc raises its limits to what is freed up to 32 MiB, the header of the block included.
LARGEST = 33_500_000


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep memory of arrays that are freed, instead of handing it back to the system each time.

    Arrays from 128 kB on are mapped and unmapped one by one by glibc, and what is freed at the end of its heap is
    handed back, so the next array of that size has all its pages faulted in anew: two thirds of the time of a Huber
    loss of 300 x 200. It stops doing so up to the size of a block once one of that size was freed, unless limits are
    set in the environment (``M_MMAP_THRESHOLD`` in mallopt(3)). None of the pages is touched here, and other allocators
    do as they like.
    """
    if os.name != "posix":
        return
    library = ctypes.CDLL(None)
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    library.free(library.malloc(LARGEST))
