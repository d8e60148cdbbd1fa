"""Sends the batches of simulated viewers to a worker: ``openqoe simulate``.

The model decides which batch is sent when. Requests of one viewer follow each other; those of
different viewers use several connections. Answers are judged as the SDKs do: a batch is sent again
after a 5xx or a failure of the network, and dropped after any other refusal.
"""

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from random import random
from typing import Final

from openqoe.simulator import Batch, Simulation, Truth

from ..service.clock import monotonic, now_ms
from .batch_sender import BatchSender, Tally, UndeliverableError
from .worker_connection import NO_ANSWER, UNSENDABLE, WorkerConnection

DELAYS: Final = (1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0)
"""Seconds before each further attempt: an SDK sends a batch at most ten times."""

TIMEOUT: Final = 60.0
"""Seconds to wait for an answer."""

HEALTH_TIMEOUT: Final = 2.0
"""Seconds to wait for the first sign of the worker, in which signals are not handled."""

QUEUED: Final = 64
"""Batches that may be queued for one connection; then the simulation waits."""

GRACE: Final = 10.0
"""Seconds that requests in flight have to be answered when sending stops."""

PAUSE: Final = 0.25
"""Longest time in seconds between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """Where a simulation goes, and how.

    Attributes:
        url: The worker; with a path, all batches go there.
        key: The API key; "" for none.
        speed: Simulated seconds per second until the present is reached; 0: as fast as the worker
            accepts it.
        duration: Simulated time in ms; None: until it is stopped.
        connections: Requests in flight at once.
        patience: Seconds to wait at the start for a worker that does not answer.
    """

    url: str
    key: str = ""
    speed: float = 1.0
    duration: float | None = None
    connections: int = 16
    patience: float = 10.0


@dataclass(slots=True)
class SimulationTally(Tally):
    """Counts of a simulation. Batches and events do not include copies.

    Attributes:
        truth: The metrics that the worker must have counted.
        copies: Batches that were sent twice on purpose and accepted.
        late: Accepted batches that had waited for the viewer's network.
        given_up: Batches that were never answered.
        retries: How often a batch was sent again.
        virtual: The simulated time, ms since the epoch.
        behind: Seconds by which sending is behind the simulated time.
    """

    truth: Truth = field(default_factory=Truth)
    copies: int = 0
    late: int = 0
    given_up: int = 0
    retries: int = 0
    virtual: float = 0.0
    behind: float = 0.0

    @property
    def is_exact(self) -> bool:
        """Whether the worker must have counted exactly the truth."""
        return not (self.refused_batches or self.given_up)


class SimulationSender(BatchSender):
    """Sends the batches of a simulation.

    Args:
        simulation: The viewers.
        plan: Where to, and how.
        tally: Is updated as answers come.
        tick: Is called every second. It may stop the simulation by a reason in ``tally.stopped``.
    """

    def __init__(
        self,
        simulation: Simulation,
        plan: SimulationPlan,
        tally: SimulationTally,
        tick: Callable[[], None],
    ) -> None:
        super().__init__(plan.url, plan.key, plan.connections, TIMEOUT, tally)
        self._simulation = simulation
        self._plan = plan
        self._tally: SimulationTally = tally
        self._tick = tick
        self._next_tick = monotonic() + 1.0
        self._is_interrupted = False
        self._lanes: list[Queue[Batch | None]] = [Queue(QUEUED) for _ in self.connections]
        self._failed: set[int] = set()  # batches that were not accepted, and that a copy follows

    def run(self) -> None:
        """Send until the duration is over, a signal comes, or the worker refuses all batches."""
        signals = (signal.SIGINT, signal.SIGTERM)
        # Not KeyboardInterrupt: raised inside a lock's methods, it would leave the lock locked.
        handlers = [signal.signal(number, self._interrupt) for number in signals]
        try:
            if self._wait_for_worker():
                self._send_all()
        finally:
            for number, handler in zip(signals, handlers, strict=True):
                signal.signal(number, handler)
            self.finish()

    def _interrupt(self, number: int, frame: object) -> None:
        self._is_interrupted = True  # ``_wait`` stops

    def _wait_for_worker(self) -> bool:
        """Wait until the worker answers at all."""
        end = monotonic() + self._plan.patience
        while not self.stopping.is_set():
            try:
                connection = WorkerConnection(self._plan.url, HEALTH_TIMEOUT)
                connection.request("GET", "/health")
                connection.close()
                return True
            except (*NO_ANSWER, *UNSENDABLE) as error:
                if monotonic() > end:
                    reason = str(error) or type(error).__name__
                    self.stop(f"no answer from {self._plan.url}: {reason}")
            self._wait(0.2)
        return False

    def _send_all(self) -> None:
        threads = self.start_threads(self._send_lane)
        try:
            self._fill_lanes()
            for lane in self._lanes:
                self._put(lane, None)
            while not self.stopping.is_set() and any(thread.is_alive() for thread in threads):
                self._wait(0.02)
        finally:
            self.stopping.set()
            for lane in self._lanes:
                with suppress(Empty):
                    while True:
                        lane.get_nowait()  # not sent
                lane.put(None)
            end = monotonic() + GRACE
            for thread in threads:
                thread.join(max(0.0, end - monotonic()))
            self._tally.given_up += sum(thread.is_alive() for thread in threads)

    def _fill_lanes(self) -> None:
        plan, tally = self._plan, self._tally
        start, began = self._simulation.start, now_ms()
        for batch in self._simulation.batches():
            if plan.duration is not None and batch.at > start + plan.duration:
                tally.virtual = start + plan.duration
                return
            # ``speed`` applies to the past; nothing is sent before it happens.
            elapsed = (batch.at - start) / plan.speed if plan.speed else 0.0
            due = max(batch.at, began + elapsed)
            while (wait := due - now_ms()) > 0:
                tally.virtual = max(tally.virtual, batch.at - wait * max(plan.speed, 1.0))
                self._wait(wait / 1000)
                if self.stopping.is_set():
                    return
            tally.virtual = batch.at
            tally.behind = max(0.0, -wait / 1000) if plan.speed else 0.0
            if not self._put(self._lanes[batch.viewer % len(self._lanes)], batch):
                return

    def _put(self, lane: Queue[Batch | None], batch: Batch | None) -> bool:
        """Queue a batch; returns False if sending has stopped."""
        while not self.stopping.is_set():
            self._wait(0)
            try:
                lane.put(batch, timeout=PAUSE)
                return True
            except Full:
                continue
        return False

    def _wait(self, seconds: float) -> None:
        """Wait for at most PAUSE; stops after a signal, ticks when a second has passed."""
        if seconds:
            self.stopping.wait(min(seconds, PAUSE))
        if self._is_interrupted:
            self.stop("interrupted")
        if (now := monotonic()) >= self._next_tick:
            self._next_tick = now + 1.0
            self.update_seconds()
            self._tick()
            if self._tally.stopped:
                self.stopping.set()

    def retry_delay(self, attempt: int, elapsed: float, retry_after: float) -> float | None:
        if attempt == len(DELAYS):
            return None
        with self.lock:
            self._tally.retries += 1
        return DELAYS[attempt] + random()

    def _send_lane(self, number: int, connection: WorkerConnection) -> None:
        lane = self._lanes[number]
        while (batch := lane.get()) is not None and not self.stopping.is_set():
            self._send(connection, batch)

    def _send(self, connection: WorkerConnection, batch: Batch) -> None:
        tally = self._tally
        try:
            answer = self.post(
                connection, batch.path, batch.body, {**dict(batch.headers), **self.key}
            )
        except UndeliverableError as error:
            with self.lock:
                tally.given_up += not batch.is_copy
                self._note_failure(batch, f"given up: {error}")
            return
        with self.lock:
            if not answer.is_success:
                tally.refused_batches += not batch.is_copy
                self._note_failure(batch, str(answer))
                return
            if batch.is_copy:
                tally.copies += 1
                if id(batch.expected) not in self._failed:
                    return
                self._failed.discard(id(batch.expected))
            if answer.events_rejected:
                tally.refused_batches += 1
                tally.add_problem(str(answer))
            tally.batches += 1
            tally.events += len(batch.types)
            tally.late += batch.is_late
            tally.truth.add(batch.expected)

    def _note_failure(self, batch: Batch, text: str) -> None:
        self._tally.add_problem(text)
        if batch.copy_at is not None:
            self._failed.add(id(batch.expected))
