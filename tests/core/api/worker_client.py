"""A worker and a client of its API."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openqoe.core.config.worker_config import Config
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Worker
from tests.support import exposition_parser
from tests.support.event_builders import NOW
from tests.support.handling import handle


def make_worker(**settings: str) -> Worker:
    """Return a worker with these environment variables."""
    return Worker(Config.from_environment(settings), instance="test-0", seed=1)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response in a form that is easy to compare.

    Attributes:
        status: Status code.
        headers: Headers by name as sent; names are unique.
        body: Body.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "Answer":
        names = [name.lower() for name, _ in response.headers]
        assert len(names) == len(set(names)), names
        return cls(response.status, dict(response.headers), response.body)

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)


def ask(
    worker: Worker,
    path: str = "/health",
    *,
    method: str = "GET",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    now: int = NOW,
) -> Answer:
    """Send a request to a worker and return the answer; header names are in lower case."""
    request = Request(method, path, query, dict(headers or {}), body, now)
    return Answer.of(handle(worker, request, now).response)


def send(worker: Worker, request: Request, now: int = NOW) -> Answer:
    """Send a request of ``tests.support.event_builders.post`` and return the answer."""
    return Answer.of(handle(worker, request, now).response)


def counter_value(worker: Worker, name: str, now: int = NOW, **labels: Any) -> float:
    """Return a counter or gauge of the worker from /metrics; 0 if it is missing."""
    families = exposition_parser.parse(ask(worker, "/metrics", now=now).body.decode())
    family = families.get(f"openqoe_worker_{name}")
    if family is None:
        return 0
    return family.samples.get((f"openqoe_worker_{name}", frozenset(labels.items())), 0)
