"""70 minutes of simulated viewers, sent through workers into a real Prometheus within seconds.

Nothing sleeps: the workers run under the clock of the simulation, and their requests carry its
timestamps. One worker receives the viewers' batches, one the recorded CMCD of three players;
another has every fault that its metrics can report.
"""

from __future__ import annotations

import http.client
import time
from collections import deque
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from openqoe.core.cluster.shared_views import MAX_ENTRIES
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
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from openqoe.simulator import Simulation, Truth, parse_incident
from tests.deploy import rule_files
from tests.support.captures import load
from tests.support.cmcd_accuracy import HEADERS
from tests.support.cmcd_captures import all_pages, shifted
from tests.support.event_builders import event, post
from tests.support.handling import handle
from tests.support.loki_double import LokiDouble
from tests.support.memory_store import MemoryStore
from tests.support.prometheus_server import Prometheus
from tests.support.rig import deliver
from tests.support.wire_codec import encode_write_request

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND

FLUSH: Final = 2 * MINUTE
"""Every sample of every series is sent at each flush: the fewer, the faster."""

LENGTH: Final = 70 * MINUTE
RECORDED: Final = 55 * MINUTE
"""Time range of the rule evaluation in ms. Prometheus refuses samples 1 h behind its newest."""

SILENCE: Final = 4 * MINUTE
"""ms without viewers at the end, in which views end and gauges do not become stale."""

VIEWERS: Final = 24
SEED: Final = 46
"""Before the incidents its viewers have no fault that fires an alert."""
INCIDENTS: Final = ("cdn@40m+20m/0s", "release@45m+15m/0s")
INCIDENT_FROM, INCIDENT_UNTIL = 40 * MINUTE, 60 * MINUTE

SETTINGS: Final = {
    "LOKI_URL": "http://loki.test/loki/api/v1/push",
    "OPENQOE_FLUSH_INTERVAL": f"{FLUSH / SECOND:g}",
    # Longer than any silence of a viewer, shorter than that at the end: all views end in time.
    "OPENQOE_VIEW_TIMEOUT": f"{SILENCE / SECOND / 2:g}",
    # Unlimited, so that labels equal those of the truth.
    "CARDINALITY_LIMITS": '{"video_id":{"action":"allow","max_cardinality":1000}}',
}
FAULTY_SETTINGS: Final = {
    **SETTINGS,
    "OPENQOE_FLUSH_INTERVAL": f"{MINUTE / SECOND:g}",
    "OPENQOE_MAX_SERIES": "60",
    "OPENQOE_MAX_VIEWS": "3",
    "OPENQOE_DEDUP_MAX": "1",
    "OPENQOE_KV_PATIENCE": "30",
    "CARDINALITY_LIMITS": '{"env":{"action":"allow","max_cardinality":1}}',
}


class Process:
    """One worker process with its store and destinations.

    Attributes:
        worker: The worker.
        store_is_down: Whether every call of the store fails.
        loki_result: Replaces Loki's own result, if set.
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
        self.store_is_down = False
        self.loki_result: HttpResult | None = None
        self.start(sender.now)

    def start(self, now: int) -> None:
        """Start with an empty state."""
        self.worker = Worker(
            self._config,
            instance=self._instance,
            shared=self._store is not None,
            started_at=now,
        )
        self.run(self.worker.poll(now), now)

    def handle(self, request: Request, now: int) -> int:
        """Handle a request; return the status of its response."""
        outcome = handle(self.worker, request, now)
        self.run(outcome.effects, now)
        return outcome.response.status

    def pass_time(self, until: int) -> None:
        """Poll the worker whenever it is due, up to a time."""
        while (due := self.worker.next_poll()) is not None and due <= until:
            self.run(self.worker.poll(due), due)

    def run(self, effects: Iterable[Effect], now: int) -> None:
        """Run effects."""
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case Notice():
                    pass
                case KvUpdate() if self.store_is_down:
                    waiting += self.worker.complete(effect.id, KvFailure("unreachable"), now)
                case KvUpdate():
                    assert self._store is not None
                    replies = KvResult(self._store.run(effect.operations))
                    waiting += self.worker.complete(effect.id, replies, now)
                case RemoteWrite():
                    answer = self._sender.write(effect.body, dict(effect.headers))
                    waiting += self.worker.complete(effect.id, answer, now)
                case LokiPush():
                    answer = self.loki_result or deliver(effect, self._sender.loki)
                    waiting += self.worker.complete(effect.id, answer, now)
                case _:
                    raise AssertionError(f"a worker in memory asks for {effect}")


class Sender:
    """The connection to Prometheus, the Loki double, and the clock.

    Attributes:
        url: Prometheus' write endpoint.
        now: The time in ms.
        loki: Receives the logs.
    """

    def __init__(self, prometheus: Prometheus, now: int) -> None:
        self.url = prometheus.write_url
        self.now = now
        self.loki = LokiDouble(now_ms=lambda: self.now)
        where = urlsplit(self.url)
        self._path = where.path
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def write(self, body: bytes, headers: dict[str, str]) -> HttpResult:
        """Send a request to Prometheus."""
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        return HttpResult(answer.status, {}, answer.read())


class SimulatedHour:
    """The simulated time with all its data in Prometheus.

    Attributes:
        begin, end: The simulated time range in ms; ``end`` is the time of the last flush.
        truth: The expected values from the simulation.
        loki: Holds the logs.
    """

    def __init__(self, prometheus: Prometheus) -> None:
        self.prometheus = prometheus
        # A whole minute, so that query steps of one minute coincide with flushes.
        self.end = int(time.time()) // 60 * MINUTE
        self.begin = self.end - LENGTH
        self.truth = Truth()
        sender = Sender(prometheus, self.begin)
        self.loki = sender.loki
        self._sender = sender
        self._simulate_viewers()
        self._replay_cmcd()
        self._simulate_faults()
        self._evaluate_rules()
        sender.close()

    def _simulate_viewers(self) -> None:
        incidents = tuple(parse_incident(text) for text in INCIDENTS)
        simulation = Simulation(VIEWERS, SEED, self.begin, incidents)
        worker = Process(self._sender, SETTINGS, "w-0")
        last = self.end - SILENCE
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
                self.truth.add(batch.expected)
        self._sender.now = self.end
        worker.pass_time(self.end)
        self.truth.expire()

    def _replay_cmcd(self) -> None:
        """Send what players without an SDK report, half an hour before the end."""
        sender = self._sender
        sender.now = begin = self.end - 30 * MINUTE
        worker = Process(sender, SETTINGS, "cmcd-0")
        arrivals = []
        for page in all_pages():
            first = page.posts[0].t
            ms = begin - first - load(page.recording).t0
            query = f"org_id=cmcd&player_id={page.recording}&player_name={page.player}"
            for one in page.accepted:
                body = shifted(one.body, ms)
                arrivals.append((begin + one.t - first, query, body))
        query = "org_id=cmcd&player_id=live&player_name=hlsjs"
        for at in range(begin, begin + 3 * MINUTE, 10 * SECOND):  # the recorded videos are not live
            body = f'cid="channel",sid="live",ts={at},v=2,e=t,sta=p,st=l,ltc=4200\n'.encode()
            arrivals.append((at, query, body))
        for now, query, body in sorted(arrivals):
            sender.now = now
            worker.pass_time(now)
            assert worker.handle(Request("POST", "/v1/cmcd", query, HEADERS, body), now) == 204
        sender.now = begin + 2 * SILENCE
        worker.pass_time(sender.now)

    def _simulate_faults(self) -> None:
        """Run a worker with all faults in the last 20 minutes."""
        sender = self._sender
        sender.now = self.end - 20 * MINUTE
        faulty = Process(sender, FAULTY_SETTINGS, "faulty-0", MemoryStore(lambda: sender.now))
        for minute in range(20):
            sender.now += SECOND  # after the flush of the previous process
            if minute in (1, 3, 5, 7):
                faulty.start(sender.now)
            if minute == 8:
                faulty.worker.note_missing_records(3)
            faulty.store_is_down = minute in (9, 10, 11)
            faulty.loki_result = {
                11: HttpResult(409, {}, b"conflict"),
                12: HttpResult(415, {}, b"unsupported media type"),
            }.get(minute, HttpResult(503) if minute > 12 else None)
            self._send_faulty_requests(faulty, minute, sender.now)
            sender.now += MINUTE - SECOND
            faulty.pass_time(sender.now)

    def _send_faulty_requests(self, faulty: Process, step: int, now: int) -> None:
        for number in range(6):
            one = event(
                "playing",
                at=now,
                org_id="faulty",
                env=f"env-{number}",
                app_version=f"1.{step}",
                view_id=f"v-{step}-{number}",
                video={"id": "x" * 2_100 if number == 5 else "film"},
                data={"bitrate": "fast" if number == 0 else 1e6},
            )
            faulty.handle(post(one, now=now), now)
            faulty.handle(post(one, now=now), now)
        beat = event("heartbeat", at=now, org_id="faulty")
        faulty.handle(post(event(at=0, org_id="faulty"), beat, now=now), now)
        ahead = event("heartbeat", at=now + 10 * MINUTE, org_id="faulty", view_id=f"ahead-{step}")
        faulty.handle(post(ahead, now=now), now)
        faulty.handle(Request("POST", "/v1/events", body=b"{"), now)
        late = event("seek", at=now - 2 * 3600 * SECOND, note="x" * 270_000, org_id="faulty")
        faulty.handle(post(late, now=now), now)
        if step == 2:  # more batches of one view than workers follow
            for number in range(MAX_ENTRIES + 1):
                hot = event("heartbeat", at=now - number, org_id="faulty", view_id="undefined")
                faulty.handle(post(hot, now=now), now)
        for at in range(now, now + 2 * SECOND + 1, 50):  # batches delayed by 5 s
            faulty.handle(
                Request("POST", "/v1/events", body=b"{", last_byte_at=at - 5 * SECOND), at
            )

    def _evaluate_rules(self) -> None:
        """Evaluate the rules for each minute and store the results, as Prometheus does."""
        for rule in rule_files.rules():
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
