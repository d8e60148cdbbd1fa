"""The ways a worker can be run. Every one of them has to pass the conformance suite."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.process import Command, WorkerProcess, serve, serve_trio


@dataclass(frozen=True)
class Host:
    """A shell in one of its hosts.

    Attributes:
        name: As in test ids.
        command: Starts it.
        settings: Settings that select it.
        owns_http: Whether the HTTP layer is ours, so that its limits and answers are, too.
    """

    name: str
    command: Command
    settings: Mapping[str, str] = field(default_factory=dict)
    owns_http: bool = True

    def run(self, settings: Mapping[str, str] | None = None) -> WorkerProcess:
        """A process that has not been started yet."""
        return WorkerProcess({**self.settings, **(settings or {})}, command=self.command)


HOSTS = (
    Host("asyncio-h11", serve, {"OPENQOE_HTTP_PARSER": "h11"}),
    Host("trio", serve_trio),
    Host("asyncio-httptools", serve, {"OPENQOE_HTTP_PARSER": "httptools"}),
)
