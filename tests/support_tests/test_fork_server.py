"""The fork server: its processes are like those of ``python -m``."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fork_server

PROBE = """
import json, os, sys, time
sys.stderr.write("to the error stream")
print(json.dumps({
    "name": __name__,
    "arguments": sys.argv[1:],
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "input": sys.stdin.read(),
    "descriptors": sorted(map(int, os.listdir("/proc/self/fd")))[:4],
    "leads_session": os.getsid(0) == os.getpid(),
}))
if "wait" in sys.argv:
    time.sleep(600)
sys.exit(7)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    """A module in the folder of the test."""
    (tmp_path / "probe.py").write_text(PROBE)
    return (sys.executable, "-m", "probe")


def test_forked_process_has_arguments_environment_folder_and_streams_of_its_own(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    environment = {**os.environ, "OPENQOE_PROBE": "here"}
    assert fork_server.can_fork(command, environment)
    ended = fork_server.run((*command, "one", "two"), environment, b"given")
    assert (ended.returncode, ended.stderr) == (7, "to the error stream")
    found = json.loads(ended.stdout)
    assert (found["name"], found["arguments"]) == ("__main__", ["one", "two"])
    assert found["environment"] == environment
    assert (found["folder"], found["input"]) == (str(tmp_path), "given")
    assert found["descriptors"][:3] == [0, 1, 2]
    assert len(found["descriptors"]) == 4  # the fourth lists the folder
    assert found["leads_session"]


def test_killed_process_has_the_status_of_its_signal(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w") as log:
        process = fork_server.start((*command, "wait"), os.environ, log)
    assert isinstance(process, fork_server.ForkedProcess)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(10) == process.poll() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD", "SSL_CERT_FILE", "TZ"])
def test_variable_that_an_interpreter_reads_at_its_start_needs_a_fresh_one(name: str) -> None:
    command = (sys.executable, "-m", "probe")
    assert not fork_server.can_fork(command, {**os.environ, name: "other"})
    assert not fork_server.can_fork((sys.executable, "-c", "pass"), os.environ)
