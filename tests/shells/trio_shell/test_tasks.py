"""Every task of the Trio shell has an owner and an end."""

import os
import signal
import time

import trio
import trio.testing

from openqoe.core import Config
from openqoe.shells.net.listeners import ListenOptions
from openqoe.shells.trio_shell.serve import serve
from tests.support.event_builders import batch, event
from tests.support.raw_client import encode_get, encode_post
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import free_port


class Census(trio.abc.Instrument):
    """Counts the running tasks."""

    def __init__(self) -> None:
        self.living: set[trio.lowlevel.Task] = set()
        self.most = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.living.add(task)
        self.most = max(self.most, len(self.living))

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.living.discard(task)


async def connect(port: int) -> trio.SocketStream:
    with trio.fail_after(10):
        while True:
            try:
                return await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.02)


def test_server_ends_all_tasks() -> None:
    census = Census()
    port = free_port()
    with RemoteWriteDouble() as receiver:
        config = Config(prometheus_url=receiver.write_url, flush_interval=100, log_level="error")

        async def scenario() -> None:
            before = len(census.living)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve, config, {}, ListenOptions(port=port))
                async with await connect(port) as idle, await connect(port) as busy:
                    await busy.send_all(encode_get("/health"))
                    assert (await busy.receive_some(65536)).startswith(b"HTTP/1.1 200")
                    too_old = round(time.time() * 1000) - 48 * 3_600_000
                    await busy.send_all(encode_post(batch(event("heartbeat", at=too_old))))
                    assert (await busy.receive_some(65536)).startswith(b"HTTP/1.1 400")
                    await trio.sleep(0.3)  # several flushes
                    os.kill(os.getpid(), signal.SIGTERM)
                    assert await idle.receive_some(1) == b""  # closed by the server
            assert len(census.living) == before

        trio.run(scenario, instruments=[census])
        assert receiver.request_count > 0
    assert census.most > 6  # tasks were seen
    assert census.living == set()


def test_failing_destination_leaves_no_task() -> None:
    census = Census()
    port = free_port()
    closed_port = free_port()
    config = Config(
        prometheus_url=f"http://127.0.0.1:{closed_port}/api/v1/write",
        flush_interval=100,
        shutdown_timeout=300,
        log_level="error",
    )

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, config, {}, ListenOptions(port=port))
            await (await connect(port)).aclose()
            await trio.sleep(0.3)
            os.kill(os.getpid(), signal.SIGTERM)

    trio.run(scenario, instruments=[census])
    assert census.living == set()
