"""Queueing delay in the kernel: time since the data of a connection arrived.

While a process is busy, its clients' data waits in the kernel. The core receives the time of
arrival, so that it detects that the process falls behind.
"""

import socket
from sys import byteorder
from typing import Any

_LAST_DATA_RECEIVED = slice(52, 56)
"""``tcpi_last_data_recv`` in Linux's ``struct tcp_info`` (linux/tcp.h): ms since data last came.
The offset has not changed since TCP_INFO exists."""

_TCP_INFO = getattr(socket, "TCP_INFO", None)


def kernel_queue_ms(sock: Any) -> int:
    """Return the ms since the latest data of a connection arrived.

    0 where that is unknown: a Unix socket, or another system than Linux.

    Args:
        sock: A connected socket, or an object with its ``getsockopt``.
    """
    if _TCP_INFO is None:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA_RECEIVED.stop)
    except (OSError, AttributeError):
        return 0
    return int.from_bytes(info[_LAST_DATA_RECEIVED], byteorder)
