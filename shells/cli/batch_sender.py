"""Sends batches to a worker over several connections: the base of ``replay`` and ``simulate``.

Each connection has a thread. A batch is sent until the worker accepts or refuses it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ..service.clock import monotonic
from ..service.logs import printable
from .worker_connection import NO_ANSWER, UNSENDABLE, WorkerConnection

HOPELESS: Final = frozenset({401, 403, 404, 405})
"""Statuses that every further batch would get, too."""

MAX_PROBLEMS: Final = 10
"""Problems that are kept in a tally."""


@dataclass(slots=True)
class Tally:
    """Counts of sent batches, updated as answers come.

    Attributes:
        batches: Batches that were accepted, at least in part.
        events: Events that were accepted.
        refused_batches: Batches that were refused.
        problems: The first MAX_PROBLEMS reasons.
        stopped: Why sending ended early; "" if it did not.
        seconds: Duration so far.
    """

    batches: int = 0
    events: int = 0
    refused_batches: int = 0
    problems: list[str] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Accepted events per second."""
        return self.events / self.seconds if self.seconds else 0.0

    def add_problem(self, text: str) -> None:
        """Keep a reason, unless there are enough."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(printable(text).rstrip())


class Answer(msgspec.Struct):
    """The worker's answer to a batch."""

    status: int = 0
    message: str = ""
    error: str = ""
    errors: list[dict[str, str | int | float | None]] = []
    events_received: int = 0
    events_accepted: int | None = None
    events_rejected: int = 0

    @property
    def is_success(self) -> bool:
        """Whether the worker accepted the batch, at least in part."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        """Status and message, with the first error."""
        text = f"{self.status} {self.message}"
        if self.error:
            text += f": {self.error}"
        if self.errors:
            fault = self.errors[0]
            event = "" if fault.get("index") is None else f"event {fault['index']}: "
            text += f": {event}{fault.get('field')} {fault.get('error')}"
        return text


class StopSendingError(Exception):
    """No further batch can be sent."""


class UndeliverableError(Exception):
    """A batch was sent as often as it may be, and never decided about."""


class BatchSender(ABC):
    """Connections with a thread each.

    Args:
        url: The worker; with a path, all batches go there.
        key: The API key; "" for none.
        connections: How many.
        timeout: Seconds to wait for an answer.
        tally: Is updated. Threads other than the caller's do so under ``lock``.
    """

    retried_statuses: frozenset[int] = frozenset()
    """Statuses below 500 after which a batch is sent again."""

    def __init__(self, url: str, key: str, connections: int, timeout: float, tally: Tally) -> None:
        address = urlsplit(url)
        has_path = address.path not in ("", "/")
        self._path = address._replace(scheme="", netloc="").geturl() if has_path else ""
        self.key = {"Authorization": f"Bearer {key}"} if key else {}
        self.connections = [WorkerConnection(url, timeout) for _ in range(connections)]
        self.lock = Lock()
        self.stopping = Event()
        self._tally = tally
        self._began = monotonic()
        self._fault: Exception | None = None

    @abstractmethod
    def retry_delay(self, attempt: int, elapsed: float, retry_after: float) -> float | None:
        """Seconds to wait before a batch is sent again; None to give it up.

        Args:
            attempt: How often it was sent again already.
            elapsed: Seconds since it was sent first.
            retry_after: Seconds that the worker asks to wait.
        """

    def start_threads(self, send: Callable[[int, WorkerConnection], None]) -> list[Thread]:
        """Call ``send`` in a thread for each connection, with its number."""

        def run(number: int, connection: WorkerConnection) -> None:
            try:
                send(number, connection)
            except StopSendingError as error:
                self.stop(str(error))
            except Exception as error:
                self._fault = error
                self.stop(f"internal error: {error}")

        threads = [
            # Daemons: the process may end while a request waits for its answer.
            Thread(target=run, args=pair, name=f"openqoe-sender-{pair[0]}", daemon=True)
            for pair in enumerate(self.connections)
        ]
        for thread in threads:
            thread.start()
        return threads

    def stop(self, reason: str) -> None:
        """Send nothing more. The first reason is kept."""
        self._tally.stopped = self._tally.stopped or printable(reason)
        self.stopping.set()

    def finish(self) -> None:
        """Complete the tally; raises the exception of a thread, if there was one."""
        self.stopping.set()
        self.update_seconds()
        if self._fault is not None:
            raise self._fault

    def update_seconds(self) -> None:
        """Set the time that has passed."""
        self._tally.seconds = monotonic() - self._began

    def post(
        self, connection: WorkerConnection, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        """Send a batch until the worker accepts or refuses it.

        Raises:
            StopSendingError: No batch can be sent to this URL with this key.
            UndeliverableError: The worker did not decide, or ``stop`` was called.
        """
        began = monotonic()
        for attempt in range(1 << 30):
            retry_after = 0.0
            try:
                reply = connection.request("POST", self._path or path, body, headers)
            except UNSENDABLE as error:
                raise StopSendingError(str(error)) from None
            except NO_ANSWER as error:
                failure = str(error) or type(error).__name__
            else:
                answer = _decode(reply.status, reply.body)
                if reply.status in HOPELESS:
                    raise StopSendingError(f"the worker answers {answer}".rstrip())
                if reply.status < 500 and reply.status not in self.retried_statuses:
                    return answer
                failure = str(answer)
                seconds = reply.headers.get("Retry-After", "")
                retry_after = float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0
            delay = self.retry_delay(attempt, monotonic() - began, retry_after)
            if delay is None or self.stopping.wait(delay):
                break
        raise UndeliverableError(failure)


def _decode(status: int, body: bytes) -> Answer:
    try:
        answer = msgspec.json.decode(body, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = Answer()
    answer.status = status
    return answer
