"""Several workers that count like one, in one process and under one clock.

    fleet = Fleet(4)
    fleet.post(2, player_event(0, "playing", 0.0))  # to the third worker
    fleet.pass_time(15_000)
    assert fleet.counts() == alone.counts()         # sums over all workers

They share a store, or their slots partition the views (`Fleet(4, partitioned=True)`), each with a
disk. Nothing sleeps. Every effect runs as soon as a worker returns it, unless the store is slow.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from typing import Any, Final

from openqoe.core.cluster.partition import Partition
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import (
    Append,
    Effect,
    Forget,
    Forward,
    HttpResult,
    KvFailure,
    KvResult,
    KvUpdate,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    Persist,
    RemoteWrite,
    Respond,
    RewriteStorage,
    Stored,
)
from openqoe.core.http.messages import Request, Response
from openqoe.core.primitives.incremental import DEFAULT_BUDGET
from openqoe.core.worker import Worker
from openqoe.shells.stores.store_interface import Store
from tests.support.disk import Disk
from tests.support.event_builders import NOW, post
from tests.support.loki_double import LokiDouble
from tests.support.memory_store import MemoryStore
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.rig import DESTINATIONS, deliver

STEP: Final = 1_000
"""The step of the clock in ms."""


class Fleet:
    """Workers behind a load balancer without affinity.

    Args:
        size: Number of workers.
        shared: Whether they share a store; a single worker needs none.
        store: The shared store; one in memory by default.
        partitioned: Whether they partition the views and have disks, instead of a store.
        relays: Whether partitioned workers relay requests.
        **settings: Environment variables.

    Attributes:
        now: The time in ms.
        store: The shared store.
        store_is_down: Whether every call of the store fails.
        store_is_slow: Whether calls of the store are queued until ``run_store_updates``.
        notices: Notices for the operator, in order.
        stopped: Workers that do not run, by number: they refuse what is forwarded to them.
        disks: The disks of partitioned workers.
        slots: The number of slots that own views.
    """

    def __init__(
        self,
        size: int,
        *,
        shared: bool = True,
        store: Store | None = None,
        partitioned: bool = False,
        relays: bool = True,
        **settings: str,
    ) -> None:
        self.now = NOW
        self.store_is_down = False
        self.store_is_slow = False
        self._store_calls: deque[tuple[Worker, KvUpdate]] = deque()
        self.notices: list[Notice] = []
        self.store: Store = store or MemoryStore(lambda: self.now)
        self.receiver = RemoteWriteDouble(now_ms=lambda: self.now)
        self.loki = LokiDouble(now_ms=lambda: self.now)
        self._config = Config.from_environment({**DESTINATIONS, **settings})
        self._shared = shared and not partitioned
        self._relays = relays
        self.stopped: set[int] = set()
        self.disks = [Disk() for _ in range(size)] if partitioned else []
        self.slots = size
        self._requests = 0
        self._answers: dict[int, Response] = {}
        self._peer_answers: dict[int, list[Response]] = {}
        self._forwarded: dict[int, tuple[Worker, Forward]] = {}
        self.workers = [self.start_worker(number) for number in range(size)]
        for worker in self.workers:
            self.run(worker, worker.poll(NOW))

    def start_worker(self, number: int) -> Worker:
        """Create the worker of a number."""
        if self.disks:
            partition = Partition(self.slots, number)
            return self.disks[number].restore(
                self._config,
                f"w-{number}",
                number,
                self.now,
                shared=False,
                budget=DEFAULT_BUDGET,
                partition=partition,
                relays=self._relays,
                embedded=False,
            )
        return Worker(self._config, instance=f"w-{number}", seed=number, shared=self._shared)

    def restart(self, number: int) -> None:
        """Replace a worker by one that is restored from its snapshot."""
        blob = self.workers[number].snapshot()
        self.workers[number] = self.start_worker(number)
        self.workers[number].restore(blob)

    def stop(self, number: int) -> None:
        """Let a partitioned worker die."""
        self.stopped.add(number)

    def start(self, number: int) -> None:
        """Start a partitioned worker that has died, from its disk."""
        self.stopped.discard(number)
        self.workers[number] = self.start_worker(number)
        self.run(self.workers[number], self.workers[number].poll(self.now))

    def handle(self, number: int, request: Request) -> Response:
        """Handle a request on one worker now."""
        self._requests += 1
        request_id, worker = self._requests, self.workers[number]
        self.run(worker, worker.handle(request_id, request, self.now))
        return self._answers.pop(request_id)

    def ask_as_peer(self, number: int, body: bytes) -> list[Response]:
        """Send a worker a request of another one; its answer is added to the list, now or later."""
        self._requests += 1
        answers = self._peer_answers[self._requests] = []
        self.run(
            self.workers[number], self.workers[number].handle_peer(self._requests, body, self.now)
        )
        return answers

    def post(self, number: int, *events: Any) -> Response:
        """Post a batch to one worker now and assert that it is accepted."""
        response = self.handle(number, post(*events, now=self.now))
        assert response.status == 202, response.body
        return response

    def pass_time(self, ms: int) -> None:
        """Advance the clock and poll each worker when it is due."""
        until = self.now + ms
        while self.now < until:
            self.now = min(self.now + STEP, until)
            for number, worker in enumerate(self.workers):
                if number in self.stopped:
                    continue
                while (due := worker.next_poll()) is not None and due <= self.now:
                    self.run(worker, worker.poll(self.now))

    def close(self, *numbers: int) -> None:
        """Stop these workers, or all."""
        for number in numbers or range(len(self.workers)):
            worker = self.workers[number]
            self.run(worker, worker.close(self.now))
            for _ in range(10):
                self.run(worker, worker.poll(self.now))

    def run_store_updates(self) -> None:
        """Run the queued calls of the store, and those that follow from them."""
        while self._store_calls:
            worker, update = self._store_calls.popleft()
            result = KvResult(self.store.run(update.operations))
            self.run(worker, worker.complete(update.id, result, self.now))

    def stats(self, number: int) -> bytes:
        """The body of `/stats` of one worker."""
        return self.handle(number, Request("GET", "/stats")).body

    def counts(self, without: Collection[str] = ("instance",)) -> dict[str, float]:
        """The counters and histograms summed over all workers and over some labels."""
        return sum_counters(self._newest(), without)

    def concurrent_views(self) -> float:
        """The concurrent views summed over all instances, as dashboards do."""
        name = "openqoe_concurrent_views_current"
        return sum(value for labels, value in self._newest() if ("__name__", name) in labels)

    def _newest(self) -> Iterable[tuple[tuple[tuple[str, str], ...], float]]:
        for labels, samples in self.receiver.samples.items():
            value = samples[-1][1]
            if isinstance(value, float):
                yield labels, value

    def run(self, worker: Worker, effects: Iterable[Effect]) -> None:
        """Run the effects of a worker."""
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case Notice():
                    self.notices.append(effect)
                case Respond() if effect.request_id in self._forwarded:
                    sender, request = self._forwarded.pop(effect.request_id)
                    answer = HttpResult(effect.response.status, body=effect.response.body)
                    self.run(sender, sender.complete(request.id, answer, self.now))
                case Respond() if effect.request_id in self._peer_answers:
                    self._peer_answers[effect.request_id].append(effect.response)
                case Respond():
                    assert effect.request_id not in self._answers, "a request was answered twice"
                    self._answers[effect.request_id] = effect.response
                case Forward():
                    self._forward(worker, effect)
                case RewriteStorage():
                    waiting += worker.complete(effect.id, Stored(), self.now)
                case Append() | Persist() | LoadPayload() | Forget():
                    disk = self.disks[self.workers.index(worker)]
                    stored = disk.execute(effect)
                    if not isinstance(effect, Forget):
                        waiting += worker.complete(effect.id, stored, self.now)
                case KvUpdate() if self.store_is_slow:
                    self._store_calls.append((worker, effect))
                case KvUpdate():
                    result = (
                        KvFailure("unreachable")
                        if self.store_is_down
                        else KvResult(self.store.run(effect.operations))
                    )
                    waiting += worker.complete(effect.id, result, self.now)
                case RemoteWrite() | LokiPush():
                    double = self.receiver if isinstance(effect, RemoteWrite) else self.loki
                    waiting += worker.complete(effect.id, deliver(effect, double), self.now)
                case _:
                    raise AssertionError(f"no worker of a fleet asks for {effect}")
        assert self.receiver.violations == []

    def _forward(self, sender: Worker, effect: Forward) -> None:
        number = int(effect.destination.removeprefix("slot-"))
        if number in self.stopped:
            failure = NetworkFailure("refused")
            self.run(sender, sender.complete(effect.id, failure, self.now))
            return
        self._requests += 1
        self._forwarded[self._requests] = sender, effect
        owner = self.workers[number]
        self.run(owner, owner.handle_peer(self._requests, effect.body, self.now))


def sum_counters(
    series: Iterable[tuple[Iterable[tuple[str, str]], float]],
    without: Collection[str] = ("instance",),
) -> dict[str, float]:
    """Sum QoE counters and histograms over some labels, without zeros.

    Args:
        series: The labels of each series, sorted by name, and its newest value.
        without: The labels to sum over.
    """
    counts: defaultdict[str, float] = defaultdict(float)
    for labels, value in series:
        name = dict(labels)["__name__"]
        is_counter = name.endswith(("_total", "_count", "_bucket", "_sum")) or name == PLAYED
        if is_counter and "_worker_" not in name:
            text = ",".join(f"{k}={v}" for k, v in labels if k not in ("__name__", *without))
            counts[f"{name}{{{text}}}"] += value
    return {key: round(value, 6) for key, value in counts.items() if value}


PLAYED: Final = "openqoe_playing_time_seconds"
