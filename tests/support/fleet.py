"""Several workers that share a store, in one process and under one clock.

    fleet = Fleet(4)
    fleet.post(2, told(0, "playing", 0.0))      # to the third of them
    fleet.pass_time(15_000)
    assert fleet.counts() == alone.counts()     # what all have counted together

Nothing sleeps. Every effect is run the moment it comes out, unless the store is away.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from typing import Any, Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import (
    Effect,
    KvFailure,
    KvResult,
    KvUpdate,
    LokiPush,
    Notice,
    RemoteWrite,
)
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Worker
from openqoe.shells.stores.store_interface import Store
from tests.support.events import NOW, post
from tests.support.loki import LokiDouble
from tests.support.memory_store import MemoryStore
from tests.support.receiver import RemoteWriteDouble
from tests.support.rig import DESTINATIONS, deliver

STEP: Final = 1_000
"""ms by which time goes on while it passes."""


class Fleet:
    """Workers behind a load balancer that knows nothing of views.

    Args:
        size: How many.
        shared: Whether they share a store; one alone needs none.
        store: The store, if it is not to be one in memory.
        **settings: Environment variables.

    Attributes:
        now: The time in ms.
        store: What they share.
        away: Whether the store does not answer.
        is_slow: Whether it takes its time: what it is asked waits for ``answer``.
        notices: What the operator was told.
    """

    def __init__(
        self, size: int, *, shared: bool = True, store: Store | None = None, **settings: str
    ) -> None:
        self.now = NOW
        self.away = False
        self.is_slow = False
        self._asked: deque[tuple[Worker, KvUpdate]] = deque()
        self.notices: list[Notice] = []
        self.store: Store = store or MemoryStore(lambda: self.now)
        self.receiver = RemoteWriteDouble(now_ms=lambda: self.now)
        self.loki = LokiDouble(now_ms=lambda: self.now)
        self._config = Config.from_environment({**DESTINATIONS, **settings})
        self._shared = shared
        self.workers = [self.begin(number) for number in range(size)]
        for worker in self.workers:
            self._run(worker, worker.poll(NOW))

    def begin(self, number: int) -> Worker:
        """A new worker of a number."""
        return Worker(self._config, instance=f"w-{number}", seed=number, shared=self._shared)

    def restart(self, number: int) -> None:
        """One of them is put away and comes back from its snapshot."""
        self.workers[number] = Worker.restore(
            self._config,
            self.workers[number].snapshot(),
            instance=f"w-{number}",
            seed=number,
            shared=self._shared,
        )

    def handle(self, number: int, request: Request) -> Response:
        """A request comes to one of them now."""
        outcome = self.workers[number].handle(request, self.now)
        self._run(self.workers[number], outcome.effects)
        return outcome.response

    def post(self, number: int, *events: Any) -> Response:
        """A batch comes to one of them now, and is accepted."""
        response = self.handle(number, post(*events, now=self.now))
        assert response.status == 202, response.body
        return response

    def pass_time(self, ms: int) -> None:
        """Time goes by; each is woken when it wanted to be."""
        until = self.now + ms
        while self.now < until:
            self.now = min(self.now + STEP, until)
            for worker in self.workers:
                due = worker.next_poll()
                if due is not None and due <= self.now:
                    self._run(worker, worker.poll(self.now))

    def close(self, *numbers: int) -> None:
        """These are told to stop, or all."""
        for number in numbers or range(len(self.workers)):
            worker = self.workers[number]
            self._run(worker, worker.close(self.now))
            for _ in range(10):
                self._run(worker, worker.poll(self.now))

    def answer(self) -> None:
        """The store answers what it was asked, and what it is asked because of that."""
        while self._asked:
            worker, update = self._asked.popleft()
            result = KvResult(self.store.run(update.operations))
            self._run(worker, worker.complete(update.id, result, self.now))

    def stats(self, number: int) -> bytes:
        """What one of them says of itself."""
        return self.handle(number, Request("GET", "/stats")).body

    def counts(self, without: Collection[str] = ("instance",)) -> dict[str, float]:
        """The counters and histograms of all together, without some labels."""
        return totals(self._newest(), without)

    def concurrent(self) -> float:
        """What a dashboard shows of concurrent views: the sum over all instances."""
        name = "openqoe_concurrent_views_current"
        return sum(value for labels, value in self._newest() if ("__name__", name) in labels)

    def _newest(self) -> Iterable[tuple[tuple[tuple[str, str], ...], float]]:
        for labels, samples in self.receiver.samples.items():
            value = samples[-1][1]
            if isinstance(value, float):
                yield labels, value

    def _run(self, worker: Worker, effects: Iterable[Effect]) -> None:
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case Notice():
                    self.notices.append(effect)
                case KvUpdate() if self.is_slow:
                    self._asked.append((worker, effect))
                case KvUpdate():
                    result = (
                        KvFailure("it is away")
                        if self.away
                        else KvResult(self.store.run(effect.operations))
                    )
                    waiting += worker.complete(effect.id, result, self.now)
                case RemoteWrite() | LokiPush():
                    double = self.receiver if isinstance(effect, RemoteWrite) else self.loki
                    waiting += worker.complete(effect.id, deliver(effect, double), self.now)
                case _:
                    raise AssertionError(f"a worker in memory asks for {effect}")
        assert self.receiver.violations == []


def totals(
    series: Iterable[tuple[Iterable[tuple[str, str]], float]],
    without: Collection[str] = ("instance",),
) -> dict[str, float]:
    """QoE counters and histograms added up over some labels, without those that are 0.

    Args:
        series: The labels of each, sorted by name, and its newest value.
        without: The labels that are left out.
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
