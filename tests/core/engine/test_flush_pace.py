"""Flush pace: a worker that falls behind says so, and stretches the flush interval."""

import json
from typing import Any

import pytest

from openqoe.core import Config, Worker
from openqoe.core.config.destinations import Destination
from openqoe.core.delivery.byte_pool import BytePool
from openqoe.core.delivery.delivery_queue import DeliveryQueue
from openqoe.core.delivery.payload import Payload
from openqoe.core.effects import (
    Append,
    Effect,
    HttpResult,
    NetworkFailure,
    Notice,
    PayloadKind,
    Persist,
    RemoteWrite,
    Stored,
)
from openqoe.core.engine.flush_pace import MAX_INTERVAL, FlushPace
from openqoe.core.http.messages import Request
from tests.support import exposition_parser
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle

SECOND, MINUTE = 1_000, 60_000
OK = HttpResult(204)
REFUSED = NetworkFailure("connection refused")
PLAYERS = 10


class Host:
    """A worker with one destination, which takes its time for each request.

    Attributes:
        delay: Time that the destination needs for a request, ms.
        result: Its answer.
        work: Time that each call of ``poll`` needs, ms.
        notices: Notices, in order.
        sent: When each request was sent.
    """

    def __init__(
        self, interval: str = "1", *, durable: bool = True, budget: int = 250, delivers: bool = True
    ) -> None:
        settings = {
            "OPENQOE_FLUSH_INTERVAL": interval,
            "OPENQOE_MAX_SAMPLES_PER_REQUEST": "20",
        }
        if delivers:
            settings["PROMETHEUS_URL"] = "http://prometheus.test/write"
        config = Config.from_environment(settings)
        self.worker = Worker(config, instance="p-0", durable=durable, budget=budget)
        self.now, self.delay, self.work = NOW, 1, 0
        self.result: HttpResult | NetworkFailure = OK
        self.notices: list[Notice] = []
        self.sent: list[int] = []
        self._in_flight: list[tuple[int, RemoteWrite]] = []
        self._run(self.worker.poll(NOW))
        for number in range(PLAYERS):
            request = post(event("viewstart", player_id=f"p-{number}"), now=NOW)
            self._run(handle(self.worker, request, NOW).effects)

    def _run(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Append() | Persist():
                    self._run(self.worker.complete(effect.id, Stored(), self.now))
                case RemoteWrite():
                    self.sent.append(self.now)
                    self._in_flight.append((self.now + self.delay, effect))
                case Notice():
                    self.notices.append(effect)

    def pass_time(self, ms: int) -> None:
        """Let time pass: the worker is called whenever it asks, the destination answers."""
        until = self.now + ms
        while True:
            answered = min((at for at, _ in self._in_flight), default=until)
            polled = self.worker.next_poll()
            polled = until if polled is None else polled
            if min(answered, polled) >= until:
                self.now = max(self.now, until)
                return
            self.now = max(self.now, min(answered, polled))
            if answered <= polled:
                _, effect = self._in_flight.pop(0)
                self._run(self.worker.complete(effect.id, self.result, self.now))
            else:
                effects = self.worker.poll(self.now)
                self.now += self.work
                self._run(effects)

    def ask(self, path: str) -> Any:
        """Return the body of a response."""
        body = handle(self.worker, Request("GET", path), self.now).response.body
        return body.decode() if path == "/metrics" else json.loads(body)

    def events(self) -> list[str]:
        """Return the events of the notices since the last call."""
        events = [notice.event for notice in self.notices]
        self.notices.clear()
        return events

    @property
    def requests_per_flush(self) -> int:
        """Requests of a steady flush."""
        self.pass_time(10 * SECOND)
        before = len(self.sent)
        self.pass_time(10 * SECOND)
        return (len(self.sent) - before) // 10


def metric(host: Host, name: str) -> float:
    """Return the value of a health metric with one series."""
    (value,) = exposition_parser.parse(host.ask("/metrics"))[
        f"openqoe_worker_{name}"
    ].samples.values()
    return value


def make_slow_host(share: float, **options: Any) -> Host:
    """Create a host whose destination needs this share of a flush interval for a flush."""
    host = Host(**options)
    host.delay = round(share * SECOND / host.requests_per_flush)
    return host


def test_destination_that_needs_most_of_the_interval_keeps_up() -> None:
    host = make_slow_host(0.9)
    host.pass_time(5 * MINUTE)
    (queue,) = host.ask("/stats")["destinations"]
    assert (queue["oldest_age"] or 0) < SECOND
    assert host.events() == []
    assert host.ask("/ready") == {"status": "ready"}
    assert metric(host, "flush_interval_seconds") == 1
    assert metric(host, "queue_behind") == 0


def test_queue_that_grows_is_reported_once_and_everywhere() -> None:
    host = make_slow_host(1.5)
    while not host.ask("/stats")["destinations"][0]["is_behind"]:
        host.pass_time(SECOND)
        assert host.now < NOW + MINUTE
    assert host.ask("/ready")["behind"] == ["prometheus"]
    assert metric(host, "queue_behind") == 1
    assert 3 * SECOND < host.ask("/stats")["destinations"][0]["oldest_age"] < 6 * SECOND
    host.pass_time(5 * MINUTE)
    assert host.events().count("delivery falls behind") == 1


def test_interval_is_stretched_until_a_slow_destination_keeps_up_and_reported() -> None:
    host = make_slow_host(3.0)
    host.pass_time(5 * MINUTE)
    stats = host.ask("/stats")
    assert stats["flush_interval_ms"] == {"configured": 1_000, "current": 4_000}
    assert stats["destinations"][0]["oldest_age"] < 4 * SECOND
    assert host.ask("/ready") == {"status": "ready", "flush_interval_seconds": 4}
    assert metric(host, "flush_interval_seconds") == 4
    details = [dict(n.fields) for n in host.notices if n.event == "flush interval stretched"]
    assert details[0] == {"cause": "delivery", "configured_s": 1.0, "interval_s": 2.0}
    intervals = [one["interval_s"] for one in details]
    assert intervals == sorted(set(intervals)), "one notice for each"


def test_configured_interval_returns_once_the_destination_is_fast_again() -> None:
    host = make_slow_host(3.0)
    host.pass_time(5 * MINUTE)
    host.events()
    host.delay = 1
    host.pass_time(5 * MINUTE)
    assert host.ask("/ready") == {"status": "ready"}
    assert host.events() == ["flush interval is the configured one again"]


def test_interval_does_not_alternate_while_the_load_is_steady() -> None:
    host = make_slow_host(1.3)
    host.pass_time(5 * MINUTE)
    host.events()
    host.pass_time(15 * MINUTE)
    assert host.events() == []
    assert host.ask("/ready") == {"status": "ready", "flush_interval_seconds": 2}


@pytest.mark.parametrize(("kind", "longest"), [("metrics", MAX_INTERVAL), ("logs", SECOND)])
def test_slow_destination_of_logs_does_not_stretch_the_interval_of_metrics(
    kind: PayloadKind, longest: int
) -> None:
    queue = DeliveryQueue(
        Destination("slow", "http://slow/push", ()),
        kind,
        pool=BytePool(1_000_000),
        loaded_pool=BytePool(1_000_000),
        seed=1,
        split=lambda body: [],
    )
    notices: list[Notice] = []
    pace, now = FlushPace(SECOND, [[queue]], notices), NOW
    for effect_id in range(300):
        now += pace.interval
        pace.begin_flush(now, now)
        for _ in range(3):
            queue.offer(Payload(kind, (), b"x", 1, now), now)
        assert queue.next_request(effect_id, now) is not None
        queue.complete(effect_id, OK, now)
    assert pace.behind == ("slow",)
    assert pace.interval == longest
    assert notices[0].event == "delivery falls behind"


def test_caught_up_destination_is_reported() -> None:
    host = make_slow_host(1.5)
    host.pass_time(5 * MINUTE)
    events = host.events()
    assert events.index("delivery falls behind") < events.index("delivery has caught up")


def test_outage_is_behind_but_neither_stretches_the_interval_nor_gives_more_notices() -> None:
    host = make_slow_host(0.1)
    host.result = REFUSED
    host.pass_time(5 * MINUTE)
    assert host.events() == ["destination unavailable; retrying"]
    assert host.ask("/ready") == {"status": "ready", "behind": ["prometheus"]}
    host.result = OK
    host.pass_time(5 * MINUTE)
    assert host.ask("/ready") == {"status": "ready"}
    assert "flush interval stretched" not in host.events()


@pytest.mark.parametrize("seconds", range(4, 12))
def test_growth_during_a_short_outage_is_none_of_a_slow_destination(seconds: int) -> None:
    """The first flush after it may begin while nearly all of its backlog waits."""
    host = make_slow_host(0.3)
    host.result = REFUSED
    host.pass_time(seconds * SECOND)
    host.result = OK
    host.pass_time(MINUTE)
    assert not {"delivery falls behind", "flush interval stretched"} & set(host.events())


def test_destination_that_never_answers_does_not_stretch_the_interval() -> None:
    host = Host()
    host.delay = 60 * MINUTE
    host.pass_time(5 * MINUTE)
    assert host.events() == []
    assert host.ask("/ready") == {"status": "ready", "behind": ["prometheus"]}


def test_backlog_of_an_outage_is_sent_with_pauses_and_live_traffic_without() -> None:
    host = make_slow_host(0.1)
    host.result = REFUSED
    host.pass_time(MINUTE)
    host.result = OK
    host.sent.clear()
    host.pass_time(2 * MINUTE)
    gaps = [after - before for before, after in zip(host.sent, host.sent[1:], strict=False)]
    first_success = next(n for n, gap in enumerate(gaps) if gap < SECOND)
    assert gaps[first_success] == 2 * host.delay
    host.pass_time(5 * MINUTE)
    host.sent.clear()
    host.pass_time(10 * SECOND)
    assert min(b - a for a, b in zip(host.sent, host.sent[1:], strict=False)) == host.delay


def test_interval_is_stretched_if_the_work_of_a_flush_takes_longer() -> None:
    host = Host(budget=10, delivers=False)
    host.pass_time(10 * SECOND)
    host.work = 150
    host.pass_time(5 * MINUTE)
    (first, *_) = [n for n in host.notices if n.event == "flush interval stretched"]
    assert dict(first.fields)["cause"] == "flush"
    assert host.ask("/ready")["flush_interval_seconds"] > 1
    host.work = 0
    host.pass_time(10 * MINUTE)
    assert host.ask("/ready") == {"status": "ready"}


@pytest.mark.parametrize(("configured", "longest"), [("1", MAX_INTERVAL), ("90", 90 * SECOND)])
def test_interval_is_never_stretched_past_a_minute(configured: str, longest: int) -> None:
    host = Host(configured)
    host.delay = 30 * SECOND
    host.pass_time(60 * MINUTE)
    assert host.ask("/stats")["flush_interval_ms"]["current"] == longest


def test_worker_that_flushes_after_every_request_is_never_behind() -> None:
    host = Host("0", durable=False)
    host.delay = MINUTE
    host.pass_time(60 * MINUTE)
    assert host.ask("/ready") == {"status": "ready"}
    assert host.ask("/stats")["flush_interval_ms"] == {"configured": 0, "current": 0}
