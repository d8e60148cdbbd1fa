"""When data came, as the system knows it."""

import socket
import sys
import time

from openqoe.shells.net.tcp_info import kernel_queue_ms


def test_data_that_nobody_reads_has_waited() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        client.sendall(b"x")
        time.sleep(0.1)
        ours, _ = listener.accept()
        with ours:
            least = 80 if sys.platform == "linux" else 0
            assert least <= kernel_queue_ms(ours) < 60_000


def test_who_cannot_know_says_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert kernel_queue_ms(ours) == 0
    assert kernel_queue_ms(ours) == 0
    assert kernel_queue_ms(None) == 0
