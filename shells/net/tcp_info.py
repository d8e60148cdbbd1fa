"""When data came, as the system knows it.

While a process is busy its clients' data lies with the system, and only that knows for how
long. The core is told the time at which data came, so that it can see that it falls behind.
"""

import socket
from sys import byteorder
from typing import Any

_LAST_DATA_RECEIVED = slice(52, 56)
"""Where Linux's ``struct tcp_info`` has the ms since data last came (``tcpi_last_data_recv``,
linux/tcp.h); it has stood there since TCP_INFO exists."""

_TCP_INFO = getattr(socket, "TCP_INFO", None)


def kernel_queue_ms(sock: Any) -> int:
    """For how many ms the latest data of a connection has been there.

    0 where nobody knows: a Unix socket, another system than Linux.

    Args:
        sock: A connected socket, or what has its ``getsockopt``.
    """
    if _TCP_INFO is None:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA_RECEIVED.stop)
    except (OSError, AttributeError):
        return 0
    return int.from_bytes(info[_LAST_DATA_RECEIVED], byteorder)
