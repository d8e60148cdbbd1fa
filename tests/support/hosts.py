"""The ways a worker can be run. Every one of them has to pass the conformance suite."""

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
        name: As in test ids.
        command: Starts it.
        settings: Settings that select it.
        owns_http: Whether the HTTP layer is ours, so that its limits and answers are, too.
        keeps_alive: Whether a connection serves more than one request.
        answers_half_closed: Whether a client that has closed its side is sure to get an answer.
        stop_signal: What ends it cleanly.
        exits: Its exit statuses after that.
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
        """A process that has not been started yet."""
        return WorkerProcess(
            {**self.settings, **(settings or {})},
            command=self.command,
            stop_signal=self.stop_signal,
        )


HOSTS = (
    Host("asyncio-h11", serve, {"OPENQOE_HTTP_PARSER": "h11"}),
    Host("asyncio-httptools", serve, {"OPENQOE_HTTP_PARSER": "httptools"}),
    Host("trio", serve_trio),
    # uvicorn ends itself with the signal it was sent, after a clean shutdown.
    # It also drops a connection as soon as the client has closed its side.
    Host(
        "uvicorn",
        uvicorn,
        owns_http=False,
        answers_half_closed=False,
        exits=frozenset({0, -signal.SIGTERM}),
    ),
    Host("gunicorn-gthread", gunicorn("gthread", "--threads", "8"), owns_http=False),
    Host("gunicorn-sync", gunicorn("sync", "--threads", "1"), owns_http=False, keeps_alive=False),
    # waitress does not handle SIGTERM, so the process would end at once.
    Host("waitress", waitress, owns_http=False, stop_signal=signal.SIGINT),
)
