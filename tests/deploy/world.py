"""An hour and more of simulated viewers, told by real workers to a real Prometheus in seconds.

Nothing sleeps: the workers live under a clock that the simulation moves, and their requests go to
Prometheus with the timestamps of that clock. One worker takes the viewers' batches, another has all
the troubles that its metrics can tell of.
"""

from __future__ import annotations

import http.client
import time
from collections import deque
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import (
    Effect,
    HttpResult,
    KvFailure,
    KvResult,
    KvUpdate,
    LokiPush,
    Notice,
    RemoteWrite,
)
from openqoe.core.engine.load_shedding import BURST
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from openqoe.shells.stores import MemoryStore
from openqoe.simulator import Simulation, Truth, parse_incident
from tests.deploy import rules
from tests.support.events import event, post
from tests.support.loki import LokiDouble
from tests.support.prometheus import Prometheus
from tests.support.rig import deliver
from tests.support.wire import encode_write_request

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND

FLUSH: Final = 60 * SECOND
LENGTH: Final = 70 * MINUTE
RECORDED: Final = 55 * MINUTE
"""How far back rules are evaluated. Prometheus takes nothing an hour older than its newest."""

VIEWERS: Final = 24
INCIDENTS: Final = ("cdn@40m+20m/0s", "release@45m+15m/0s")
INCIDENT_FROM, INCIDENT_UNTIL = 40 * MINUTE, 60 * MINUTE

SETTINGS: Final = {
    "LOKI_URL": "http://loki.test/loki/api/v1/push",
    "OPENQOE_FLUSH_INTERVAL": f"{FLUSH / SECOND:g}",
    # As sent, so that they can be compared.
    "CARDINALITY_LIMITS": '{"video_id":{"action":"allow","max_cardinality":1000}}',
}
TROUBLES: Final = {
    **SETTINGS,
    "OPENQOE_MAX_SERIES": "60",
    "OPENQOE_MAX_VIEWS": "3",
    "OPENQOE_DEDUP_MAX": "1",
    "OPENQOE_KV_PATIENCE": "30",
    "CARDINALITY_LIMITS": '{"env":{"action":"allow","max_cardinality":1}}',
}


class Process:
    """One worker and what stands around it.

    Attributes:
        worker: The worker.
        store_away: Whether the store does not answer.
        loki_says: What Loki answers in place of its own.
    """

    def __init__(
        self,
        sender: Sender,
        settings: dict[str, str],
        instance: str,
        store: MemoryStore | None = None,
    ) -> None:
        self._sender = sender
        self._store = store
        self._config = Config.from_environment({"PROMETHEUS_URL": sender.url, **settings})
        self._instance = instance
        self.store_away = False
        self.loki_says: HttpResult | None = None
        self.begin(sender.now)

    def begin(self, now: int) -> None:
        """The process starts, with nothing that it remembers."""
        self.worker = Worker(self._config, instance=self._instance, shared=self._store is not None)
        self.worker.started(now)
        self.run(self.worker.poll(now), now)

    def handle(self, request: Request, now: int) -> int:
        """A request comes; returns the status of its answer."""
        outcome = self.worker.handle(request, now)
        self.worker.answered(outcome.route, 0.004)
        self.run(outcome.effects, now)
        return outcome.response.status

    def pass_time(self, until: int) -> None:
        """Time goes by; it is woken when it wanted to be."""
        while (due := self.worker.next_poll()) is not None and due <= until:
            self.run(self.worker.poll(due), due)

    def run(self, effects: Iterable[Effect], now: int) -> None:
        """Carry effects out."""
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case Notice():
                    pass
                case KvUpdate() if self.store_away:
                    waiting += self.worker.complete(effect.id, KvFailure("it is away"), now)
                case KvUpdate():
                    assert self._store is not None
                    replies = KvResult(self._store.run(effect.operations))
                    waiting += self.worker.complete(effect.id, replies, now)
                case RemoteWrite():
                    answer = self._sender.write(effect.body, dict(effect.headers))
                    waiting += self.worker.complete(effect.id, answer, now)
                case LokiPush():
                    answer = self.loki_says or deliver(effect, self._sender.loki)
                    waiting += self.worker.complete(effect.id, answer, now)
                case _:
                    raise AssertionError(f"a worker in memory asks for {effect}")


class Sender:
    """The way to Prometheus, the strict Loki, and the clock.

    Attributes:
        url: Where metrics are written to.
        now: The time in ms.
        loki: What the logs came to.
    """

    def __init__(self, prometheus: Prometheus, now: int) -> None:
        self.url = prometheus.write_url
        self.now = now
        self.loki = LokiDouble(now_ms=lambda: self.now)
        where = urlsplit(self.url)
        self._path = where.path
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)

    def close(self) -> None:
        """No more requests."""
        self._connection.close()

    def write(self, body: bytes, headers: dict[str, str]) -> HttpResult:
        """Send a request to Prometheus."""
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        return HttpResult(answer.status, {}, answer.read())


class World:
    """All of it, told once.

    Attributes:
        begin, end: Of the time that was told, ms; ``end`` is that of the last flush.
        truth: What the simulation told of its viewers.
        loki: What the logs came to.
    """

    def __init__(self, prometheus: Prometheus) -> None:
        self.prometheus = prometheus
        # A whole minute, so that steps of a minute meet flushes.
        self.end = int(time.time()) // 60 * MINUTE
        self.begin = self.end - LENGTH
        self.truth = Truth()
        sender = Sender(prometheus, self.begin)
        self.loki = sender.loki
        self._sender = sender
        self._tell()
        self._suffer()
        self._record()
        sender.close()

    def _tell(self) -> None:
        incidents = tuple(parse_incident(text) for text in INCIDENTS)
        simulation = Simulation(VIEWERS, 6, self.begin, incidents)
        worker = Process(self._sender, SETTINGS, "w-0")
        last = self.end - 2 * FLUSH  # what waits for an explanation has time to settle
        for batch in simulation.batches():
            now = int(batch.at)
            if now >= last:
                break
            self._sender.now = now
            worker.pass_time(now)
            headers = {name.lower(): value for name, value in batch.headers}
            request = Request("POST", batch.path, headers=headers, body=batch.body)
            assert worker.handle(request, now) == 202
            if not batch.is_copy:
                for labels, facts in batch.expected:
                    self.truth.add(labels, facts)
        self._sender.now = self.end
        worker.pass_time(self.end)

    def _suffer(self) -> None:
        """What can go wrong for a worker, in the last quarter of an hour."""
        sender = self._sender
        sender.now = self.end - 20 * MINUTE
        sick = Process(sender, TROUBLES, "sick-0", MemoryStore(lambda: sender.now))
        for minute in range(20):
            sender.now += SECOND  # a process begins after the flush of the one before
            if minute in (1, 3, 5, 7):
                sick.begin(sender.now)
            sick.store_away = minute in (9, 10, 11)
            sick.loki_says = {
                11: HttpResult(400, {}, b"entry too far behind"),
                12: HttpResult(401, {}, b"who are you?"),
            }.get(minute, HttpResult(503) if minute > 12 else None)
            self._misbehave(sick, minute, sender.now)
            sender.now += MINUTE - SECOND
            sick.pass_time(sender.now)

    def _misbehave(self, sick: Process, step: int, now: int) -> None:
        for number in range(6):
            one = event(
                "playing",
                at=now,
                org_id="trouble",
                env=f"env-{number}",
                app_version=f"1.{step}",
                view_id=f"v-{step}-{number}",
                video={"id": "x" * 2_100 if number == 5 else "film"},
                data={"bitrate": "fast" if number == 0 else 1e6},
            )
            sick.handle(post(one, now=now), now)
            sick.handle(post(one, now=now), now)
        sick.handle(post(event(at=0), event("heartbeat", at=now), now=now), now)
        sick.handle(Request("POST", "/v1/events", body=b"{"), now)
        late = event("seek", at=now - 2 * 3600 * SECOND, note="x" * 270_000)
        sick.handle(post(late, now=now), now)
        for at in range(now, now + BURST + 1, 50):  # batches that have waited, for seconds
            sick.handle(Request("POST", "/v1/events", body=b"{", arrived=at - 5 * SECOND), at)
        # As a shell answers when the disk takes nothing.
        sick.worker.unstored(Request("POST", "/v1/events"))

    def _record(self) -> None:
        """Evaluate the rules for each minute and write what they give, as Prometheus does."""
        for rule in rules.rules():
            ranges = self.prometheus.query_range(
                rule["expr"], (self.end - RECORDED) / SECOND, self.end / SECOND, 60
            )
            own = dict(rule.get("labels", {}))
            if "record" in rule:
                own["__name__"] = rule["record"]
            else:
                own |= {"__name__": "ALERTS", "alertname": rule["alert"], "alertstate": "firing"}
            series = []
            for one in ranges:
                labels = {**one.labels, **own}
                samples = [(round(at * SECOND), value) for at, value in one.samples]
                series.append((dict(sorted(labels.items())), samples))
            if series:
                headers = {
                    "Content-Encoding": "snappy",
                    "Content-Type": "application/x-protobuf",
                    "X-Prometheus-Remote-Write-Version": "0.1.0",
                }
                answer = self._sender.write(encode_write_request(series), headers)
                assert answer.status == 204, (rule, answer.body)
