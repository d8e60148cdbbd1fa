"""How the C library keeps memory that is not in use any more."""

import ctypes
import os

LARGE = 128 * 1024
"""Bytes from which on a block has pages of its own."""

_M_MMAP_THRESHOLD = -3  # glibc's malloc.h


def return_large_blocks() -> None:
    """From now on a large block that is freed goes back to the system.

    glibc begins like that, but each one that is freed raises its idea of what is large, up to
    32 MB. Then snapshots, payloads and bodies lie in between small objects, and what they leave
    behind stays with the process. Where the operator has set this up, or the library is another,
    nothing is done. Source: mallopt(3), ``M_MMAP_THRESHOLD``.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "GLIBC_TUNABLES" in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE)
