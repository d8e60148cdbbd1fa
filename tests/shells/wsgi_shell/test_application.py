"""The WSGI application: its close, its thread, and its start under gunicorn."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme

from openqoe.core import Config
from openqoe.shells.service.bootstrap import WorkerRuntime
from openqoe.shells.service.clock import now_ms
from openqoe.shells.wsgi_shell import Application, create_application, start_or_exit
from tests.support.event_builders import batch, event
from tests.support.raw_client import RawClient, encode_post
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import free_port
from tests.support.worker_process import ROOT, WorkerProcess, gunicorn


class SlowBody(BytesIO):
    """The body of a slow client."""

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(0.05)
        return super().read(size)


def post(application: Application, stream: type[BytesIO] = BytesIO) -> int:
    now = now_ms()
    body = batch(event("viewstart", at=now, view_id=f"v-{now}"))
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/v1/events",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json",
        "wsgi.input": stream(body),
    }
    statuses: list[str] = []
    application(environ, lambda status, headers: statuses.append(status))
    return int(statuses[0][:3])


@pytest.fixture
def receiver() -> Iterator[RemoteWriteDouble]:
    with RemoteWriteDouble() as double:
        yield double


def configured(url: str, **more: Any) -> Config:
    return Config(prometheus_url=url, log_level="error", **more)


def test_batches_acknowledged_during_close_are_delivered(receiver: RemoteWriteDouble) -> None:
    application = create_application(configured(receiver.write_url))
    statuses: list[int] = []

    def load() -> None:
        while not statuses or statuses[-1] == 202:
            statuses.append(post(application))
            time.sleep(0.002)  # so that no two views have one name

    client = threading.Thread(target=load)
    client.start()
    time.sleep(0.2)
    application.close()
    client.join()
    assert statuses[-1] == 503
    assert post(application) == 503
    assert receiver.total("openqoe_views_loaded_total") == statuses.count(202)


@pytest.mark.parametrize("fault", ["certificate", "thread"])
def test_application_that_fails_to_start_is_not_half_alive(
    receiver: RemoteWriteDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def fails(self: object, *_: object) -> None:
        raise RuntimeError("can't start new thread")

    ca = tmp_path / "ca.pem"
    more = {"destination_ca_file": str(ca)} if fault == "certificate" else {}
    application = create_application(
        configured(receiver.write_url, data_dir=str(tmp_path / "data"), **more)
    )
    for _ in range(2):  # no request waits for ever, and none finds half a service
        if fault == "certificate":
            assert post(application) == 503
        else:
            monkeypatch.setattr(WorkerRuntime, "start", fails)
            with pytest.raises(RuntimeError):
                post(application)
    if fault == "certificate":
        trustme.CA().cert_pem.write_to_path(str(ca))
    else:
        assert not [one for one in threading.enumerate() if one.name == "openqoe"]
        monkeypatch.undo()
    assert post(application) == 202
    application.close()
    assert not (tmp_path / "data" / "slot-1").exists()  # the slot was released


def test_arrival_time_is_the_start_of_the_request(
    receiver: RemoteWriteDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = create_application(configured(receiver.write_url))
    service = application.start()
    received: list[int] = []
    answer = service.answer

    def note(request: Any) -> Any:
        received.append(now_ms() - request.first_byte_at)
        return answer(request)

    monkeypatch.setattr(service, "answer", note)
    assert post(application, SlowBody) == 202
    application.close()
    assert received[0] >= 50


class StuckNames:
    """Lookups of ``stuck.test`` that block until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._look_up = socket.getaddrinfo

    def __call__(self, host: Any, *arguments: Any, **options: Any) -> Any:
        if host in ("stuck.test", b"stuck.test"):
            self.over.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._look_up(host, *arguments, **options)


def test_stuck_name_lookup_delays_neither_other_destination_nor_close(
    receiver: RemoteWriteDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = StuckNames()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    config = configured(
        receiver.write_url,
        loki_url="http://stuck.test/loki/api/v1/push",
        flush_interval=0,
        shutdown_timeout=500,
    )
    application = create_application(config)
    try:
        assert post(application) == 202
        time.sleep(0.2)
        assert post(application) == 202  # while the lookup is stuck
        began = time.monotonic()
        application.close()
        assert time.monotonic() - began < 10
        assert receiver.total("openqoe_views_loaded_total") == 2
    finally:
        names.over.set()


LAST_FLUSH = """
import os, tempfile, threading
os.chdir(tempfile.mkdtemp())
from tests.shells.wsgi_shell.test_application import configured, create_application, post
assert post(create_application(configured(os.environ["URL"]))) == 202
"""


def test_last_flush_at_interpreter_exit_resolves_names(receiver: RemoteWriteDouble) -> None:
    url = receiver.write_url.replace("127.0.0.1", "localhost")
    environment = {**os.environ, "URL": url, "PYTHONPATH": f"{os.environ.get('PYTHONPATH')}:{ROOT}"}
    ended = subprocess.run(
        [sys.executable, "-c", LAST_FLUSH],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stderr == ""
    assert receiver.total("openqoe_views_loaded_total") == 1


@pytest.mark.parametrize(
    "options", [(), ("--preload",), ("-c", str(ROOT / "deploy/gunicorn.conf.py"))]
)
def test_wrong_settings_stop_gunicorn_with_one_message(options: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "gunicorn", *options, "--bind", f"127.0.0.1:{free_port()}"),
            "openqoe.shells.wsgi_shell:application",
        ],
        env={**os.environ, "PROMETHEUS_URL": "nonsense", "OPENQOE_MAX_VIEWS": "x"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stderr.count("openqoe: invalid settings:") == 1
    assert "PROMETHEUS_URL is not an http or https URL" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_unusable_data_directory_stops_gunicorn_with_one_message(
    tmp_path: Path,
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "gunicorn", "-c", str(ROOT / "deploy/gunicorn.conf.py")),
            *("--bind", f"127.0.0.1:{free_port()}", "openqoe.shells.wsgi_shell:application"),
        ],
        env={**os.environ, "OPENQOE_DATA_DIR": str(blocked), "OPENQOE_DURABILITY": "normal"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("openqoe: ")]
    assert str(blocked) in line
    assert "Traceback" not in ended.stderr


def test_requests_are_refused_until_data_directory_is_usable(
    receiver: RemoteWriteDouble, tmp_path: Path
) -> None:
    blocked = tmp_path / "data"
    blocked.write_text("")
    config = configured(receiver.write_url, data_dir=str(blocked), durability="normal")
    application = create_application(config)
    assert post(application) == 503
    blocked.unlink()
    assert post(application) == 202
    application.close()
    assert receiver.total("openqoe_views_loaded_total") == 1


def test_gunicorn_without_our_configuration_flushes_on_exit(receiver: RemoteWriteDouble) -> None:
    def command(port: int) -> tuple[str, ...]:
        bind = f"127.0.0.1:{port}"
        wanted = "openqoe.shells.wsgi_shell:application"
        return (sys.executable, "-m", "gunicorn", "--bind", bind, wanted)

    settings = {"PROMETHEUS_URL": receiver.write_url, "OPENQOE_FLUSH_INTERVAL": "3600"}
    with WorkerProcess(settings, command=command) as worker:
        body = batch(event("viewstart", at=now_ms()))
        assert worker.post(body)[0] == 202
        assert worker.stop() == 0
    assert receiver.total("openqoe_views_loaded_total") == 1


@pytest.mark.parametrize("worker_class", ["gthread", "sync"])
def test_slow_bodies_release_their_threads_with_408(worker_class: str) -> None:
    command = gunicorn(worker_class, "--threads", "2" if worker_class == "gthread" else "1")
    with WorkerProcess({"OPENQOE_REQUEST_TIMEOUT": "1"}, command=command) as worker:
        slow = [RawClient(worker.port) for _ in range(2 if worker_class == "gthread" else 1)]
        for client in slow:
            client.send(encode_post(b"", "Content-Length: 1000", length=False))
        for _ in range(8):
            time.sleep(0.2)
            for client in slow:
                with suppress(ConnectionError):
                    client.send(b"x")
        began = time.monotonic()
        assert worker.request("GET", "/health")[0] == 200
        assert time.monotonic() - began < 20
        for client in slow:
            assert client.read_response().status == 408
            client.close()


@pytest.mark.parametrize(
    ("module", "function"),
    [("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")],
)
def test_host_without_threads_is_refused_at_start(
    module: str, function: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under gunicorn's gevent workers the start never ended, and no request was answered."""
    patcher = ModuleType(module)
    setattr(patcher, function, lambda name: name.startswith("thread"))
    monkeypatch.setitem(sys.modules, module, patcher)
    with pytest.raises(SystemExit):
        start_or_exit(create_application(Config(durability="memory")))
    library = module.partition(".")[0]
    assert f"{library} workers are not supported" in capsys.readouterr().err
