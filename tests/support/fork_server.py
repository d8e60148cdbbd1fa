"""Processes of Python modules, forked from a process that has imported their packages.

Importing the worker and its packages takes most of the CPU time of a short process, and the tests
start hundreds. The fork server imports them once for each process of pytest. A forked process is
otherwise like one of ``python -m``: it has its own environment, folder, streams, session and exit
status. Processes that need a fresh interpreter are started with ``subprocess``: those that measure
memory, miss packages, or set variables that an interpreter reads when it starts.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[2]

PACKAGES: Final = (
    *("openqoe.shells.asyncio_shell.serve", "openqoe.shells.trio_shell.serve"),
    *("openqoe.shells.wsgi_shell", "openqoe.shells.cli.command_group"),
    *("openqoe.simulator", "openqoe.embedded.payload_decoder", "openqoe.dashboard"),
    *("gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "uvicorn.main", "waitress.server"),
    *("httptools", "httpx", "uvloop", "uvicorn.protocols.http.auto", "uvicorn.lifespan.on"),
)
"""The modules that the server imports. Not ``waitress.runner``: it reads ``sys.argv`` then."""

START_VARIABLES: Final = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_", "SSL_")
"""Beginnings of the names of variables that are read when an interpreter starts or a package is
imported."""

MAX_REQUEST: Final = 1 << 20
"""Bytes of a request to the server."""

MAX_REPLY: Final = 64
"""Bytes of a reply: the process id, later the status of ``waitpid``."""


def can_fork(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a forked process is like one that this command starts."""

    def start_variables(variables: Mapping[str, str]) -> dict[str, str]:
        return {n: v for n, v in variables.items() if n.startswith(START_VARIABLES)}

    return (
        sys.platform == "linux"
        and tuple(command[:2]) == (sys.executable, "-m")
        and start_variables(environment) == start_variables(os.environ)
    )


class ForkedProcess:
    """A process, with the part of the interface of ``subprocess.Popen`` that tests use.

    Args:
        command: ``sys.executable, "-m"``, a module, and its arguments.
        env: Its environment.
        stdin: Its standard input.
        stdout: Where its standard output goes.
        stderr: Where its standard error goes.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        stdin: IO[Any],
        stdout: IO[Any],
        stderr: IO[Any],
    ) -> None:
        self.args = command
        self.returncode: int | None = None
        self._channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "arguments": list(command[2:]),
            "environment": dict(env),
            "folder": str(Path.cwd()),
        }
        with far:
            descriptors = [one.fileno() for one in (stdin, stdout, stderr, far)]
            socket.send_fds(_server(), [json.dumps(request).encode()], descriptors)
        self.pid = int(self._channel.recv(MAX_REPLY))

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        if self.returncode is None:
            self._channel.settimeout(timeout)
            try:
                status = self._channel.recv(MAX_REPLY)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self.returncode = os.waitstatus_to_exitcode(int(status))
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Child = subprocess.Popen[bytes] | ForkedProcess


def start(command: Sequence[str], environment: Mapping[str, str], output: IO[Any]) -> Child:
    """Start a process in a session of its own; its output and errors go to a file."""
    if can_fork(command, environment):
        with Path(os.devnull).open() as nothing:
            return ForkedProcess(command, environment, nothing, output, output)
    return start_fresh(command, environment, output)


def start_fresh(command: Sequence[str], environment: Mapping[str, str], output: IO[Any]) -> Child:
    """Start a process like `start`, but always with a new interpreter."""
    return subprocess.Popen(
        command, env=environment, stdout=output, stderr=output, start_new_session=True
    )


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes = b"",
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Raises:
        subprocess.TimeoutExpired: It takes longer than ``timeout`` s; it is killed.
    """
    with TemporaryFile() as given, TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        given.write(stdin)
        given.seek(0)
        process = (
            ForkedProcess(command, environment, given, output, errors)
            if can_fork(command, environment)
            else subprocess.Popen(
                command, env=environment, stdin=given, stdout=output, stderr=errors
            )
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, status, output.read(), errors.read())


@cache
def _server() -> socket.socket:
    """Start the server of this process; it ends with this process."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with far:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"], cwd=ROOT, stdin=far.fileno()
        )

    def stop() -> None:
        near.close()
        server.wait()

    atexit.register(stop)
    return near


# In the server's process


def _serve() -> list[str]:
    """Fork a process for each request; return in that process, with its arguments."""
    requests = socket.socket(fileno=os.dup(0))
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST, 4)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            os._exit(0)  # the tests have ended
        if os.fork() == 0:
            # This process waits for the actual one, and reports its end.
            channel = descriptors[3]
            child = os.fork()
            if child == 0:
                return _become(json.loads(message), descriptors[:3])
            os.write(channel, b"%d" % child)
            os.closerange(0, channel)
            os.closerange(channel + 1, os.sysconf("SC_OPEN_MAX"))
            os.write(channel, b"%d" % os.waitpid(child, 0)[1])
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(request: Any, descriptors: Sequence[int]) -> list[str]:
    """Take on environment, folder and streams of a request; return its arguments."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    for name, number in (("stdout", 1), ("stderr", 2)):
        errors = "strict" if name == "stdout" else "backslashreplace"
        stream = open(number, "w", errors=errors, closefd=False)  # noqa: SIM115
        stream.reconfigure(write_through=unbuffered, line_buffering=name == "stderr")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.path[0] = request["folder"]
    arguments: list[str] = request["arguments"]
    return arguments


if __name__ == "__main__":
    for package in PACKAGES:
        import_module(package)
    gc.collect()
    gc.freeze()  # or each process visits all objects of the packages when it ends, 0.3 s
    sys.argv = _serve()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
