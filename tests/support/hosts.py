"""The servers that can host a worker. Each of them passes the conformance suite."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.worker_process import (
    Command,
    WorkerProcess,
    gunicorn,
    serve,
    serve_trio,
    uvicorn,
    waitress,
)


@dataclass(frozen=True)
class Host:
    """A shell in one of its hosts.

    Attributes:
        name: The name in test ids.
        command: The command line that starts it.
        settings: Settings that select it.
        owns_http: Whether the HTTP layer, with its limits and refusals, is the worker's own.
        keeps_alive: Whether a connection serves more than one request.
        answers_half_closed: Whether a half-closed connection always gets a response.
        stop_signal: The signal that stops it cleanly.
        exits: The exit statuses after that signal.
    """

    name: str
    command: Command
    settings: Mapping[str, str] = field(default_factory=dict)
    owns_http: bool = True
    keeps_alive: bool = True
    answers_half_closed: bool = True
    stop_signal: signal.Signals = signal.SIGTERM
    exits: frozenset[int] = frozenset({0})

    def run(self, settings: Mapping[str, str] | None = None) -> WorkerProcess:
        """Create a process that is not started yet."""
        return WorkerProcess(
            {**self.settings, **(settings or {})},
            command=self.command,
            stop_signal=self.stop_signal,
        )


HOSTS = (
    Host("asyncio-h11", serve, {"OPENQOE_HTTP_PARSER": "h11"}),
    Host("asyncio-httptools", serve, {"OPENQOE_HTTP_PARSER": "httptools"}),
    Host("trio", serve_trio),
    # After a clean shutdown uvicorn ends itself with the signal that it received.
    # It drops a connection as soon as the client half-closes it.
    Host(
        "uvicorn",
        uvicorn,
        owns_http=False,
        answers_half_closed=False,
        exits=frozenset({0, -signal.SIGTERM}),
    ),
    Host("gunicorn-gthread", gunicorn("gthread", "--threads", "8"), owns_http=False),
    Host("gunicorn-sync", gunicorn("sync", "--threads", "1"), owns_http=False, keeps_alive=False),
    # waitress does not handle SIGTERM: the process would end at once.
    Host("waitress", waitress, owns_http=False, stop_signal=signal.SIGINT),
)
