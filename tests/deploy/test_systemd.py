"""The units of deploy/systemd: systemd parses them, and the service runs as systemd starts it."""

import os
import shlex
import socket
import subprocess
import sys
from configparser import RawConfigParser
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGTERM

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.shells.service.supervisor import EXIT_USAGE, GRACE
from tests.deploy.deploy_files import DEPLOY, assert_accepts, load_config
from tests.support.services import free_port, require, wait_until

FOLDER = DEPLOY / "systemd"
OPENQOE = "/opt/openqoe/bin/openqoe"


class Unit(RawConfigParser):
    def __init__(self, name: str) -> None:
        super().__init__(strict=False, delimiters=["="], comment_prefixes=["#"])
        self.optionxform = str  # type: ignore[assignment, method-assign]
        self.read_string((FOLDER / name).read_text(encoding="utf-8"))


@pytest.fixture
def service() -> Unit:
    return Unit("openqoe.service")


@pytest.mark.parametrize("name", ["openqoe.service", "openqoe.socket"])
def test_systemd_accepts_unit_file(name: str, tmp_path: Path) -> None:
    analyze = require("systemd-analyze")
    for file in FOLDER.iterdir():
        unit = file.read_text(encoding="utf-8").replace(OPENQOE, sys.executable)
        (tmp_path / file.name).write_text(unit)
    run = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in run.stderr.splitlines() if "openqoe" in line]
    assert (run.returncode, ours) == (0, [])


def test_systemd_reports_wrong_line(tmp_path: Path) -> None:
    analyze = require("systemd-analyze")
    unit = f"[Service]\nExecStart={sys.executable}\nStateDirectroy=openqoe\n"
    (tmp_path / "openqoe.service").write_text(unit)
    run = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / "openqoe.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "StateDirectroy" in run.stderr


def test_service_starts_openqoe_with_reload_support(service: Unit) -> None:
    program, *arguments = shlex.split(service["Service"]["ExecStart"])
    assert program == OPENQOE
    assert_accepts(arguments)
    # A single process would end on SIGHUP.
    assert int(arguments[arguments.index("--workers") + 1]) > 1
    assert service["Service"]["ExecReload"].endswith("-HUP $MAINPID")


def test_service_stop_timeout_exceeds_shutdown_timeout(service: Unit) -> None:
    longest = Config().shutdown_timeout / 1000 + GRACE
    assert float(service["Service"]["TimeoutStopSec"]) > longest


def test_service_is_not_restarted_after_configuration_error(service: Unit) -> None:
    assert service["Service"]["RestartPreventExitStatus"] == str(EXIT_USAGE)


def test_service_data_directory_is_writable(service: Unit) -> None:
    pairs = shlex.split(service["Service"]["Environment"])
    variables = dict(pair.split("=", 1) for pair in pairs)
    assert load_config(variables).data_dir == f"%S/{service['Service']['StateDirectory']}"


def test_workers_serve_on_socket_opened_by_systemd(service: Unit, tmp_path: Path) -> None:
    activate = require("systemd-socket-activate")
    port = free_port()
    _, *arguments = shlex.split(service["Service"]["ExecStart"])
    environment = [f"--setenv=OPENQOE_DATA_DIR={tmp_path}", "--setenv=OPENQOE_DURABILITY=normal"]
    process = subprocess.Popen(
        [
            *(activate, f"--listen=127.0.0.1:{port}", *environment),
            *(sys.executable, "-m", "openqoe.shells", *arguments),
        ],
        stderr=subprocess.DEVNULL,
    )

    def is_ready() -> bool:
        with (
            closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection,
            suppress(OSError),
        ):
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        return False

    try:
        wait_until(is_ready, description="a worker behind systemd's socket")
    finally:
        process.send_signal(SIGTERM)
        status = process.wait(30)
    assert status == 0


def test_connections_wait_during_service_restart(service: Unit, tmp_path: Path) -> None:
    _, *arguments = shlex.split(service["Service"]["ExecStart"])
    with socket.create_server(("127.0.0.1", 0)) as listener:  # systemd's socket, which remains
        descriptor = listener.fileno()
        arguments[arguments.index("--fd") + 1] = str(descriptor)

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [sys.executable, "-m", "openqoe.shells", *arguments],
                env=os.environ | {"OPENQOE_DATA_DIR": str(tmp_path)},
                pass_fds=[descriptor],
                stderr=subprocess.DEVNULL,
            )

        def asked() -> HTTPConnection:
            connection = HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=30)
            connection.request("GET", "/ready")
            return connection

        for _ in range(2):
            with closing(asked()) as connection:  # before a server accepts
                process = start()
                try:
                    assert connection.getresponse().status == 200
                finally:
                    process.send_signal(SIGTERM)
                    assert process.wait(30) == 0
