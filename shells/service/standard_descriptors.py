"""Descriptors 0 to 2, which a parent may have closed before it started the process."""

import os
import sys


def open_standard_descriptors() -> None:
    """Open the null device for each of the descriptors 0 to 2 that is closed.

    Otherwise a socket would get the number: what is printed would go to a client, and libuv aborts
    the process when it closes such a socket.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    # Python has no streams for descriptors that were closed when it started.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
