"""Sends a recording to a worker: ``openqoe replay``."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import uniform
from typing import Final

from ..service.clock import monotonic
from .batch_sender import BatchSender, StopSendingError, Tally, UndeliverableError
from .recording_reader import RecordedBatch, count_records, shift_times
from .worker_connection import WorkerConnection

EVENTS_PATH: Final = "/v2/events"

NO_CONTENT: Final = 204

TIMEOUT: Final = 30.0
"""Seconds to wait for an answer."""

FIRST_DELAY: Final = 0.25
LONGEST_DELAY: Final = 5.0
"""Seconds before a batch is sent again; the delay doubles each time."""

DROPPED_HEADERS: Final = frozenset(
    (
        *("host", "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "cookie"),
        *("content-length", "transfer-encoding", "content-encoding", "accept-encoding"),
        *("authorization", "x-api-key", "x-api-token"),
    )
)
"""Headers of a recorded request that belong to its connection, its coding or its sender."""


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """Where a recording goes, and how.

    Attributes:
        url: The worker; with a path, all batches go there, else to their recorded paths.
        key: The API key; "" for none.
        speed: Seconds of the recording per second; 0: as fast as the worker accepts it.
        shift: ms that are added to the times of all events.
        concurrency: Requests in flight at once.
        patience: Seconds for which a batch is retried while the worker is away or busy.
    """

    url: str
    key: str = ""
    speed: float = 0.0
    shift: int = 0
    concurrency: int = 1
    patience: float = 60.0


@dataclass(slots=True)
class ReplayTally(Tally):
    """Counts of a replay.

    Attributes:
        refused_events: Events that were refused.
    """

    refused_events: int = 0


class RecordingSender(BatchSender):
    """Sends the batches of a recording.

    Args:
        plan: Where to, and how.
        tally: Is updated as answers come, so that it is right after an interrupt as well.
        progress: Is called with 1 for every batch that was answered.
        start: Time of the recording's first batch in ms, if it has times.
    """

    retried_statuses = frozenset({429})

    def __init__(
        self,
        plan: ReplayPlan,
        tally: ReplayTally,
        progress: Callable[[int], None],
        start: float | None,
    ) -> None:
        super().__init__(plan.url, plan.key, plan.concurrency, TIMEOUT, tally)
        self._plan = plan
        self._tally: ReplayTally = tally
        self._progress = progress
        self._start = start

    def send_all(self, batches: Iterable[RecordedBatch]) -> None:
        """Send batches until all are answered, or one cannot be.

        They are sent in this order; with more than one connection they may overtake each other.
        """
        self._batches = iter(batches)
        try:
            for thread in self.start_threads(self._send_remaining):
                thread.join()
        finally:
            self.finish()

    def retry_delay(self, attempt: int, elapsed: float, retry_after: float) -> float | None:
        delay = min(FIRST_DELAY * 2**attempt, LONGEST_DELAY) * uniform(0.5, 1)
        delay = max(delay, retry_after)
        return delay if elapsed + delay <= self._plan.patience else None

    def _send_remaining(self, _: int, connection: WorkerConnection) -> None:
        while not self.stopping.is_set():
            with self.lock:
                batch = next(self._batches, None)
            if batch is None:
                return
            self._wait_until_due(batch)
            self._send(connection, batch)

    def _wait_until_due(self, batch: RecordedBatch) -> None:
        if self._plan.speed and self._start is not None and batch.at is not None:
            due = self._began + (batch.at - self._start) / 1000 / self._plan.speed
            self.stopping.wait(max(0.0, due - monotonic()))

    def _send(self, connection: WorkerConnection, batch: RecordedBatch) -> None:
        if self.stopping.is_set():
            return
        shift = self._plan.shift
        body = shift_times(batch.body, shift) if shift else batch.body
        try:
            answer = self.post(connection, batch.path or EVENTS_PATH, body, self._headers(batch))
        except (StopSendingError, UndeliverableError) as error:
            raise StopSendingError(f"line {batch.line}: {error}") from None
        tally = self._tally
        with self.lock:
            if answer.is_success:
                accepted = answer.events_accepted
                if answer.status == NO_CONTENT:  # CMCD: the answer says nothing of its records
                    accepted = count_records(body)
                tally.batches += 1
                tally.events += answer.events_received if accepted is None else accepted
                tally.refused_events += answer.events_rejected
            else:
                tally.refused_batches += 1
            if answer.events_rejected or not answer.is_success:
                tally.add_problem(f"line {batch.line}: {answer}")
            self._progress(1)

    def _headers(self, batch: RecordedBatch) -> dict[str, str]:
        recorded = {
            name: value
            for name, value in batch.headers.items()
            if name.lower() not in DROPPED_HEADERS
        }
        has_type = any(name.lower() == "content-type" for name in recorded)
        is_cmcd = (batch.path or "").partition("?")[0].endswith("/cmcd")
        default = "application/cmcd" if is_cmcd else "application/json"
        return {
            **({} if has_type else {"Content-Type": default}),
            **recorded,
            **self.key,
        }
