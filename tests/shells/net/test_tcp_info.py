"""Queueing delay in the kernel."""

import socket
import sys
import time

from openqoe.shells.net.tcp_info import kernel_queue_ms


def test_unread_data_has_queueing_delay() -> None:
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


def test_unknown_queueing_delay_is_zero() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert kernel_queue_ms(ours) == 0
    assert kernel_queue_ms(ours) == 0
    assert kernel_queue_ms(None) == 0
