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
    _call("mallopt", _M_MMAP_THRESHOLD, LARGE)


def return_free_pages() -> None:
    """Whole pages that are free now go back to the system, wherever they lie.

    By itself glibc gives back only what is free at the end of its heap, and there is always
    something small that stays behind what a flush has used. Takes a ms or two (of 40 MB), for
    which other threads get no new memory. Source: malloc_trim(3).
    """
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    """Call a function of the C library, if it has it."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return
    function(*arguments)
