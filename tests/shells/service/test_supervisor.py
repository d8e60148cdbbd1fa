"""``openqoe serve --workers N``: the supervisor restarts, replaces and stops its workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from openqoe.core import Config
from openqoe.shells.net.listeners import ListenOptions
from openqoe.shells.service import logs
from openqoe.shells.service.supervisor import MAX_BACKOFF, Supervisor
from tests.support.event_builders import batch, event
from tests.support.raw_client import RawClient
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import free_port, wait_until
from tests.support.worker_process import WorkerProcess, serve, with_options

TWO = with_options(serve, "--workers", "2")


@pytest.fixture(params=["asyncio", "trio"])
def service(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    """A service of two workers that serve."""
    shell: str = request.param
    with WorkerProcess(command=with_options(TWO, "--shell", shell)) as worker:
        wait_until(lambda: serving(worker) == 2, 20, "both to serve")
        yield worker


def serving(worker: WorkerProcess) -> int:
    """Return the number of workers that have started to serve so far."""
    return sum(line["event"] == "serving" for line in worker.log_records())


def lines(worker: WorkerProcess, text: str) -> list[dict[str, object]]:
    return [line for line in worker.log_records() if line["event"] == text]


class Visitor:
    """Sends requests without pause, each on a new connection; `failures` lists unanswered ones."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._worker = worker
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def end(self) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                status = self._worker.request("GET", "/health")[0]
            except OSError as error:
                self.failures.append(repr(error))
                continue
            self.answers += status == 200


def test_worker_that_dies_restarts_with_growing_backoff(service: WorkerProcess) -> None:
    assert len(service.children()) == 2
    for kills in (1, 2):
        victim = min(service.children())
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in service.children(), 5, "the worker to end")  # noqa: B023
        assert service.request("GET", "/health")[0] == 200  # the other worker serves
        wait_until(lambda: serving(service) == 2 + kills, 20, "another worker to serve")  # noqa: B023
    died = lines(service, "worker died; restarting it")
    by_number: dict[object, list[object]] = {}
    for line in died:
        assert line["status"] == -signal.SIGKILL
        if line["seconds"]:  # 0 for one that has served for MIN_UPTIME, on a busy machine
            by_number.setdefault(line["worker"], []).append(line["seconds"])
    assert all(delays == [1.0, 2.0][: len(delays)] for delays in by_number.values())


def test_backoff_of_crashing_worker_is_bounded() -> None:
    config = Config(log_level="error")
    listeners = ListenOptions(port=0).open()
    supervisor = Supervisor(1, [], config, lambda: config, listeners, logs.configure(config))
    (worker,) = supervisor._workers
    for _ in range(1_100):
        supervisor._handle_exit(worker, 1, now=0.0)
    assert worker.restart_at == worker.backoff == MAX_BACKOFF
    listeners.close()


def test_reload_replaces_workers_one_by_one_without_failed_request(service: WorkerProcess) -> None:
    before = service.children()
    visitor = Visitor(service)
    assert service.process is not None
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: serving(service) == 4, 30, "all to be replaced")
    visitor.end()
    assert service.children().isdisjoint(before)
    assert visitor.failures == []
    assert visitor.answers > 10
    assert lines(service, "worker died; restarting it") == []


def test_pending_connections_are_divided_among_workers(service: WorkerProcess) -> None:
    """The first worker to wake would accept all of them. They take it longer than the other one
    waits for a processor, also while other tests run.
    """
    workers = service.children()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    clients = [RawClient(service.port) for _ in range(300)]
    for client in clients:
        client.send(b"GET /stats HTTP/1.1\r\nHost: a\r\n\r\n")
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    answered = Counter(json.loads(client.read_response().body)["instance"] for client in clients)
    for client in clients:
        client.close()
    assert len(answered) == 2
    assert min(answered.values()) >= 4


def test_connections_to_idle_workers_are_divided_evenly(service: WorkerProcess) -> None:
    """The one that wakes first would get nearly all, and work alone as long as they last."""
    clients = [RawClient(service.port) for _ in range(40)]
    answered: Counter[str] = Counter()
    for client in clients:
        client.send(b"GET /stats HTTP/1.1\r\nHost: a\r\n\r\n")
        answered[json.loads(client.read_response().body)["instance"]] += 1
    for client in clients:
        client.close()
    assert len(answered) == 2
    assert min(answered.values()) >= 14


def test_workers_stop_with_supervisor_and_deliver() -> None:
    with RemoteWriteDouble() as receiver:
        settings = {
            "PROMETHEUS_URL": receiver.write_url,
            "OPENQOE_FLUSH_INTERVAL": "3600",
            "PYTHONWARNINGS": "default::ResourceWarning",
        }
        with WorkerProcess(settings, command=TWO, is_fresh=True) as worker:
            now = int(time.time() * 1000)
            for number in range(40):
                body = batch(event("viewstart", at=now, view_id=f"v-{number}"))
                assert worker.post(body)[0] == 202
            worker.stop_and_deliver()
            assert worker.children() == set()
            assert "ResourceWarning" not in worker.log_text(), "a socket was left open"
        assert receiver.total("openqoe_views_loaded_total") == 40
        assert receiver.violations == []


def test_workers_end_and_deliver_when_supervisor_is_killed() -> None:
    with RemoteWriteDouble() as receiver:
        settings = {"PROMETHEUS_URL": receiver.write_url, "OPENQOE_FLUSH_INTERVAL": "3600"}
        with WorkerProcess(settings, command=TWO) as worker:
            assert worker.post(batch(event("viewstart", at=int(time.time() * 1000))))[0] == 202
            workers = worker.children()
            assert worker.process is not None
            worker.process.kill()
            worker.process.wait()
            wait_until(lambda: not any(is_alive(pid) for pid in workers), 20, "the workers to end")
        assert receiver.total("openqoe_views_loaded_total") == 1


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def has_lines(worker: WorkerProcess, event: str, count: int) -> bool:
    return len(lines(worker, event)) == count


def test_reload_applies_new_settings_and_rejects_wrong_ones(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("OPENQOE_MAX_EVENTS=1\n")
    two = batch(*(event(at=int(time.time() * 1000)) for _ in range(2)))
    with WorkerProcess(command=with_options(TWO, "--env-file", str(file))) as worker:
        assert worker.post(two)[0] == 400
        before = worker.children()
        assert worker.process is not None
        refusal = "reload failed; workers keep their settings"
        for number, wrong in enumerate(("OPENQOE_MAX_EVENTS=many", "OPENQOE_KV_URL=redis://r")):
            file.write_text(f"{wrong}\n")
            worker.process.send_signal(signal.SIGHUP)
            wait_until(partial(has_lines, worker, refusal, number + 1), 10, "the refusal")
            assert wrong.partition("=")[0] in str(lines(worker, refusal)[-1])
        assert worker.children() == before
        file.write_text("OPENQOE_MAX_EVENTS=2\n")
        worker.process.send_signal(signal.SIGHUP)
        wait_until(lambda: serving(worker) == 4, 30, "all to be replaced")
        assert worker.post(two)[0] == 202
        assert worker.stop() == 0


def test_workers_with_unusable_settings_end_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = subprocess.run(
        TWO(free_port()),
        env={
            **os.environ,
            "OPENQOE_DURABILITY": "normal",
            "OPENQOE_DATA_DIR": str(tmp_path / "file"),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 2
    assert str(tmp_path / "file") in run.stderr
    assert "Traceback" not in run.stderr
    assert "restarting it" not in run.stderr


def test_workers_without_shared_store_log_a_warning() -> None:
    with WorkerProcess({"OPENQOE_DURABILITY": "memory"}, command=TWO) as worker:
        (warning,) = [
            line
            for line in worker.log_records()
            if line["event"].startswith("workers do not share views")
        ]
        assert "OPENQOE_KV_URL" in warning["event"]
        wait_until(lambda: serving(worker) == 2, 20, "both to serve")
        names = {line["instance"] for line in lines(worker, "serving")}
        assert {str(name).rpartition("-")[2] for name in names} == {"0", "1"}


@pytest.mark.parametrize("shell", ["asyncio", "trio"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_inherited_sockets_are_served(shell: str, workers: str, tmp_path: Path) -> None:
    with socket.socket() as one, socket.socket(socket.AF_UNIX) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(str(tmp_path / "s"))
        fds = []
        for listener in (one, other):
            listener.listen()
            fds += ["--fd", str(listener.fileno())]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "openqoe.shells", "serve"),
                *("--shell", shell, "--workers", workers, *fds),
            ],
            env={
                **os.environ,
                "OPENQOE_DURABILITY": "normal",
                "OPENQOE_DATA_DIR": str(tmp_path / "data"),
            },
            pass_fds=[one.fileno(), other.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            for address in (one.getsockname(), other.getsockname()):
                family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
                with socket.socket(family) as client:
                    client.settimeout(20)
                    client.connect(address)
                    client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert client.recv(12) == b"HTTP/1.1 200"
        finally:
            process.terminate()
            assert process.wait(20) == 0
        assert (tmp_path / "s").exists()  # it belongs to the process that opened it


def test_descriptor_that_does_not_listen_is_named_in_error(tmp_path: Path) -> None:
    for wrong, reason in ((str(99), "Bad file descriptor"), ("0", "--fd 0")):
        run = subprocess.run(
            [sys.executable, "-m", "openqoe.shells", "serve", "--fd", wrong],
            env={**os.environ, "OPENQOE_DATA_DIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert run.returncode == 2
        assert f"--fd {wrong}" in run.stderr
        assert reason in run.stderr
