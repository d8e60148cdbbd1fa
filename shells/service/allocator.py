"""Makes the C library return unused memory to the system."""

import ctypes
import os

LARGE_BLOCK = 128 * 1024
"""Bytes from which a block has pages of its own."""

_M_MMAP_THRESHOLD = -3  # glibc's malloc.h


def return_large_blocks() -> None:
    """Make large blocks return to the system when they are freed.

    glibc starts like that, but raises its threshold with each large block that is freed, up to
    32 MB. Snapshots, payloads and bodies then lie between small objects, and the process keeps
    their memory. Does nothing where the operator has configured malloc, or with another C library.
    Source: mallopt(3), ``M_MMAP_THRESHOLD``.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "GLIBC_TUNABLES" in os.environ:
        return
    _call_libc("mallopt", _M_MMAP_THRESHOLD, LARGE_BLOCK)


def return_free_pages() -> None:
    """Return all pages that are free now to the system.

    glibc itself returns only the free end of its heap, and a flush always leaves something small
    there. Takes 1 to 2 ms (of 40 MB), during which other threads cannot allocate.
    Source: malloc_trim(3).
    """
    _call_libc("malloc_trim", 0)


def _call_libc(name: str, *arguments: int) -> None:
    """Call a function of the C library if it exists."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return
    function(*arguments)
