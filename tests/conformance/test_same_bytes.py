"""Every shell delivers the same payloads for the same requests at the same times."""

import asyncio
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
import trio

from openqoe.core import Config, Request, Worker
from openqoe.shells.asyncio_shell import Application
from openqoe.shells.asyncio_shell import Service as AsyncioService
from openqoe.shells.service import base_service, environment, logs
from openqoe.shells.service.bootstrap import WorkerRuntime
from openqoe.shells.trio_shell import Service as TrioService
from openqoe.shells.wsgi_shell import create_application
from tests.support.event_builders import NOW, batch, event
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import wait_until
from tests.support.wire_codec import decode_write_request, encode_write_request

INSTANCE = "same-0"

BODIES = [
    batch(event("viewstart", at=NOW - 900), event("playing", at=NOW, view_id="a")),
    batch(event("heartbeat", at=NOW + 900, data={"playing_time": 1234.5, "bitrate": 800_000})),
    batch(event("error", at=NOW + 1900, data={"error_family": "network", "error_code": "2"})),
    batch(event("ad_click", at=NOW + 2900, org_id="other"), {"event_type": "bad"}),
    batch(event("ended", at=NOW + 3900, data={"playing_time": 9999, "completion_rate": 1})),
]

Payloads = tuple[list[bytes], list[bytes]]
Shell = Callable[[Config, "Clock"], None]


class Clock:
    """A simulated wall clock for the services."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (base_service, environment):
        monkeypatch.setattr(module, "now_ms", clock, raising=False)
    for name in ("asyncio_shell.asgi_application", "wsgi_shell.wsgi_application"):
        monkeypatch.setattr(f"openqoe.shells.{name}.now_ms", clock)
        monkeypatch.setattr(f"openqoe.shells.{name}.process_instance", lambda config: INSTANCE)
    return clock


def requests(clock: Clock) -> Iterator[Request]:
    for number, body in enumerate(BODIES):
        clock.now = NOW + number * 1000
        yield Request("POST", "/v1/events", body=body, first_byte_at=clock.now)


def log(config: Config) -> logs.Log:
    return logs.configure(config)


def on_asyncio(config: Config, clock: Clock) -> None:
    async def scenario() -> None:
        running = AsyncioService(WorkerRuntime(Worker(config, instance=INSTANCE)), log(config))
        await running.start()
        for request in requests(clock):
            assert (await running.answer(request)).status in (202, 207)
        await running.close(5)

    asyncio.run(scenario())


def on_trio(config: Config, clock: Clock) -> None:
    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            running = TrioService(WorkerRuntime(Worker(config, instance=INSTANCE)), log(config))
            await running.start(nursery)
            for request in requests(clock):
                assert (await running.answer(request)).status in (202, 207)
            await running.close(5)

    trio.run(scenario)


def on_wsgi(config: Config, clock: Clock) -> None:
    application = create_application(config)
    for request in requests(clock):
        environ = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "CONTENT_LENGTH": str(len(request.body)),
            "wsgi.input": BytesIO(request.body),
        }
        statuses: list[str] = []
        application(environ, lambda status, headers: statuses.append(status))  # noqa: B023
        assert statuses[0][:3] in ("202", "207")
    application.close()


def on_asgi(config: Config, clock: Clock) -> None:
    async def scenario() -> None:
        application = Application(config)
        for request in requests(clock):
            sent: list[Any] = []

            async def receive(body: bytes = request.body) -> dict[str, Any]:
                return {"type": "http.request", "body": body}

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": request.path, "headers": []}
            await application(scope, receive, send)
            assert sent[0]["status"] in (202, 207)
        await application.close()

    asyncio.run(scenario())


def payloads(shell: Shell, clock: Clock) -> Payloads:
    """The bodies that reach the destinations: metrics (without the worker's own health, which
    measures real durations) and logs."""
    clock.now = NOW
    with RemoteWriteDouble(now_ms=clock) as receiver, LokiDouble(now_ms=clock) as loki:
        config = Config(
            durability="memory",
            prometheus_url=receiver.write_url,
            loki_url=loki.push_url,
            flush_interval=0,
            log_level="error",
        )
        shell(config, clock)
        wait_until(lambda: loki.request_count == len(BODIES), description="the logs")
        assert receiver.violations == []
        assert loki.rejected == []
        return (
            [_qoe(request.body) for request in receiver.requests],
            [request.body for request in loki.requests],
        )


def _qoe(body: bytes) -> bytes:
    series = decode_write_request(body).series
    return encode_write_request(
        [
            (dict(one.labels), [(sample.timestamp_ms, sample.value) for sample in one.samples])
            for one in series
            if not one.name.startswith("openqoe_worker_")
        ]
    )


def test_every_shell_delivers_same_bytes(clock: Clock) -> None:
    expected = payloads(on_asyncio, clock)
    assert len(expected[0]) >= len(BODIES)
    for shell in (on_trio, on_wsgi, on_asgi):
        assert payloads(shell, clock) == expected, shell.__name__
