"""The ASGI application under hypercorn and granian."""

import subprocess
import sys
import time
from collections.abc import Sequence

from tests.support.event_builders import batch, event
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import free_port
from tests.support.worker_process import Command, WorkerProcess

ASGI = "openqoe.shells.asyncio_shell:asgi"


def hypercorn(*options: str) -> Command:
    def command(port: int) -> Sequence[str]:
        return (sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", *options, ASGI)

    return command


def granian(port: int) -> Sequence[str]:
    return (sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), ASGI)


def deliver_and_stop(command: Command) -> None:
    with RemoteWriteDouble() as receiver:
        settings = {"PROMETHEUS_URL": receiver.write_url, "OPENQOE_FLUSH_INTERVAL": "3600"}
        with WorkerProcess(settings, command=command) as worker:
            now = int(time.time() * 1000)
            assert worker.post(batch(event("viewstart", at=now)))[0] == 202
            worker.stop()
        assert receiver.total("openqoe_views_loaded_total") == 1


def test_hypercorn_on_asyncio_delivers_and_stops() -> None:
    deliver_and_stop(hypercorn("--worker-class", "asyncio"))


def test_granian_delivers_and_stops() -> None:
    deliver_and_stop(granian)


def test_hypercorn_on_trio_exits_with_advice() -> None:
    command = hypercorn("--worker-class", "trio")(free_port())
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "use the host's asyncio mode" in run.stdout + run.stderr
