"""The embedded store beside Prometheus and Loki: all get the same, and none waits for another."""

from __future__ import annotations

import json
from collections import Counter, deque
from typing import Any

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import (
    Effect,
    HttpResult,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
    StorageResult,
    StoredPayload,
    StoreViews,
)
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from openqoe.embedded.payload_decoder import decode_views
from tests.support.disk import Disk
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.rig import (
    DESTINATIONS,
    FLUSH,
    MINUTE,
    SECOND,
    Rig,
    logged_views,
    player_event,
)

ON = {"OPENQOE_EMBEDDED": "on"}
REFUSED = NetworkFailure("refused")


def start_outage(rig: Rig, which: str) -> None:
    """Make the embedded store unavailable, or the other destinations."""
    if which == "embedded":
        rig.embedded_outage = REFUSED
    else:
        rig.start_outage(result=REFUSED)


@pytest.fixture(params=["embedded", "others"])
def unavailable(request: pytest.FixtureRequest) -> str:
    """The destinations that are unavailable."""
    which: str = request.param
    return which


def test_destinations_of_one_kind_get_the_same_bytes() -> None:
    rig = Rig(ON, PROMETHEUS_USERNAME="me", PROMETHEUS_PASSWORD="hush")
    rig.post_seek(0)
    rig.flush(2)
    sent: dict[str, list[bytes]] = {}
    for _, effect, _ in rig.sent:
        sent.setdefault(effect.destination, []).append(effect.body)
        credentials = [value for name, value in effect.headers if name == "Authorization"]
        assert bool(credentials) == (effect.destination == "prometheus")
    assert set(sent) == {"prometheus", "embedded_metrics", "loki", "embedded_logs"}
    assert sent["prometheus"] == sent["embedded_metrics"]
    assert sent["loki"] == sent["embedded_logs"]


def test_requests_to_the_embedded_store_have_a_url_without_a_host() -> None:
    rig = Rig(ON)
    rig.post_seek(0)
    rig.flush()
    urls = {effect.url for _, effect, _ in rig.sent if "embedded" in effect.destination}
    assert urls == {"embedded:metrics", "embedded:logs"}


def test_outage_of_one_destination_does_not_delay_the_other(unavailable: str) -> None:
    rig = Rig(ON)
    start_outage(rig, unavailable)
    for number in range(4):
        rig.post_seek(number)
        rig.flush()
    receivers = {"embedded": rig.embedded_receiver, "others": rig.receiver}
    lokis = {"embedded": rig.embedded_loki, "others": rig.loki}
    for name in receivers:
        assert receivers[name].total("openqoe_seeks_total") == (0 if name == unavailable else 4)
        assert len(logged_views(lokis[name])) == (0 if name == unavailable else 4)
    rig.end_outage()
    rig.pass_time(2 * MINUTE)
    for name in receivers:
        assert receivers[name].total("openqoe_seeks_total") == 4
        assert logged_views(lokis[name]) == [f"view-{number}" for number in range(4)]
    assert set(rig.worker.undelivered.values()) == {0}


def test_full_queue_delays_no_other_destination_and_loses_no_count(unavailable: str) -> None:
    rig = Rig(ON, OPENQOE_QUEUE_MAX_BYTES="4096")
    rig.flush()
    start_outage(rig, unavailable)
    rig.flush(20)
    full = rig.worker.undelivered
    for number in range(10):
        rig.post_seek(number)
        rig.flush()
        available = rig.receiver if unavailable == "embedded" else rig.embedded_receiver
        assert available.total("openqoe_seeks_total") == number + 1
    # The full queue admits only the starts of new series, which no later flush repeats.
    name = "embedded_metrics" if unavailable == "embedded" else "prometheus"
    waiting = rig.worker.undelivered[name] - full[name]
    assert 0 < waiting < full[name] / 4
    assert rig.total("openqoe_worker_flushes_held_total") > 5 or unavailable == "others"
    rig.end_outage()
    rig.pass_time(4 * MINUTE)
    for receiver in (rig.receiver, rig.embedded_receiver):
        assert receiver.total("openqoe_seeks_total") == 10
        assert receiver.total("openqoe_seek_latency_seconds_count") == 10
        for samples in receiver.select("openqoe_seeks_total").values():
            assert samples[0][1] == 0.0, "increase() needs the zero at the start"


def test_full_queue_stays_bounded_when_each_flush_has_new_series() -> None:
    rig = Rig(ON, OPENQOE_QUEUE_MAX_BYTES="4096", OPENQOE_FLUSH_INTERVAL="60")
    rig.start_outage(result=REFUSED)
    sizes = []
    for number in range(60):
        second = (rig.now - NOW) / SECOND
        rig.post(player_event(second, "seek", 1.0, view=f"v-{number}", video=str(number * 20_000)))
        rig.flush()
        (status,) = [
            one
            for one in json.loads(rig.handle(Request("GET", "/stats")).body)["destinations"]
            if one["destination"] == "prometheus"
        ]
        sizes.append(status["bytes"])
    assert max(sizes) < 3 * 4096  # twice the bound, and one flush
    assert sizes[-1] == sizes[-10]
    assert 'dropped_total{destination="prometheus",reason="queue_full"}' in rig.metrics_text()
    assert rig.embedded_receiver.total("openqoe_seeks_total") == 60
    rig.end_outage()
    rig.pass_time(5 * MINUTE)
    assert rig.total("openqoe_seeks_total") == 60


def test_flush_is_held_when_all_queues_are_full() -> None:
    rig = Rig(ON, OPENQOE_QUEUE_MAX_BYTES="1024")
    rig.start_outage(result=REFUSED)
    rig.embedded_outage = HttpResult(503)
    sizes = set()
    for number in range(8):
        rig.post_seek(number)
        rig.flush()
        sizes.add(rig.worker.undelivered["prometheus"] + rig.worker.undelivered["embedded_metrics"])
    assert len(sizes) == 1
    rig.end_outage()
    rig.pass_time(3 * MINUTE)
    assert rig.total("openqoe_seeks_total") == 8
    assert rig.embedded_receiver.total("openqoe_seeks_total") == 8


def test_full_log_queue_drops_only_its_own_payloads(unavailable: str) -> None:
    rig = Rig(ON, OPENQOE_QUEUE_MAX_BYTES="2048")
    start_outage(rig, unavailable)
    for number in range(30):
        rig.post_seek(number)
        rig.flush()
    rig.end_outage()
    rig.pass_time(2 * MINUTE)
    available, away = (
        (rig.loki, rig.embedded_loki)
        if unavailable == "embedded"
        else (rig.embedded_loki, rig.loki)
    )
    assert len(logged_views(available)) == 30
    assert 0 < len(logged_views(away)) < 30
    assert logged_views(away)[-1] == "view-29"


def test_payload_too_large_for_one_destination_reaches_the_other_unsplit() -> None:
    rig = Rig(ON)
    rig.scripted_results = {kind: deque([HttpResult(413)]) for kind in (RemoteWrite, LokiPush)}
    rig.post(*(player_event(0, "seek", 1.0, view=f"view-{n}") for n in range(4)))
    rig.flush()
    counts = Counter(effect.destination for _, effect, _ in rig.sent)
    assert counts["prometheus"] == counts["embedded_metrics"] + 2
    assert counts["loki"] == counts["embedded_logs"] + 2
    assert sorted(logged_views(rig.loki)) == sorted(logged_views(rig.embedded_loki))
    assert rig.receiver.samples == rig.embedded_receiver.samples


def test_metrics_and_stats_list_each_destination() -> None:
    rig = Rig(ON)
    rig.post_seek(0)
    rig.flush(2)
    text = rig.metrics_text()
    stats = json.loads(rig.handle(Request("GET", "/stats")).body)
    names = ["prometheus", "embedded_metrics", "loki", "embedded_logs", "embedded_views"]
    assert [one["destination"] for one in stats["destinations"]] == names
    assert list(rig.worker.undelivered) == names
    for name in names:
        assert f'openqoe_worker_queue_length{{destination="{name}"}} 0' in text


def test_worker_without_destinations_and_embedded_store_sends_nothing() -> None:
    worker = Worker(Config.from_environment({}), instance="w-0")
    handle(worker, post(event("seek")), NOW)
    assert [e for e in worker.poll(NOW + FLUSH) if isinstance(e, RemoteWrite | LokiPush)] == []
    assert worker.undelivered == {}
    assert handle(worker, Request("GET", "/"), NOW).response.status == 404


# Restarts


class Slot:
    """A slot of the data directory, with slot that follow each other."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.now = NOW
        self.sent: list[tuple[str, bytes]] = []
        self.notices: list[Notice] = []
        self.away: set[str] = set()

    def start(self, **settings: str) -> None:
        config = Config.from_environment({"OPENQOE_FLUSH_INTERVAL": "15", **settings})
        self.worker = self.disk.restore(config, "l-0", 1, self.now, shared=False, budget=1_000_000)
        self.run(self.worker.poll(self.now))

    def post(self, view: str, event_type: str = "viewstart") -> None:
        request = post(event(event_type, at=self.now, view_id=view), now=self.now)
        self.run(handle(self.worker, request, self.now).effects)

    def flush(self) -> None:
        self.now += FLUSH
        self.run(self.worker.poll(self.now))

    def run(self, effects: tuple[Effect, ...]) -> None:
        waiting_effects = deque(effects)
        while waiting_effects:
            effect = waiting_effects.popleft()
            result: Any = None
            match effect:
                case Notice():
                    self.notices.append(effect)
                    continue
                case RemoteWrite() | LokiPush() | StoreViews():
                    if effect.destination in self.away:
                        result = REFUSED
                    else:
                        self.sent.append((effect.destination, effect.body))
                        result = HttpResult(204)
                case _:
                    stored: StorageResult = self.disk.execute(effect)  # type: ignore[arg-type]
                    result = stored
            if hasattr(effect, "id"):
                waiting_effects += self.worker.complete(effect.id, result, self.now)

    def bodies_for(self, destination: str) -> list[bytes]:
        """Return the bodies that a destination has received."""
        return [body for name, body in self.sent if name == destination]

    @property
    def outbox(self) -> list[StoredPayload]:
        return list(self.disk.outbox.values())


def test_outbox_delivers_the_payloads_of_each_destination_after_a_crash() -> None:
    slot = Slot()
    slot.away = {"prometheus", "loki", "embedded_metrics", "embedded_logs"}
    slot.start(**DESTINATIONS, **ON)
    slot.post("a")
    slot.flush()
    names = [payload.destination for payload in slot.outbox]
    assert set(names) == slot.away
    assert len({payload.number for payload in slot.outbox}) == len(names)
    bodies = {name: [p.body for p in slot.outbox if p.destination == name] for name in slot.away}
    assert bodies["prometheus"] == bodies["embedded_metrics"]
    # The process crashes. In the next one the embedded store is available, in the third all are.
    slot.away = {"prometheus", "loki"}
    slot.start(**DESTINATIONS, **ON)
    slot.flush()
    assert {name for name, _ in slot.sent} == {"embedded_metrics", "embedded_logs"}
    for name in ("embedded_metrics", "embedded_logs"):
        assert slot.bodies_for(name)[: len(bodies[name])] == bodies[name]
    assert {payload.destination for payload in slot.outbox} == slot.away
    slot.away = set()
    slot.start(**DESTINATIONS, **ON)
    for _ in range(5):
        slot.flush()
    for name in ("prometheus", "loki"):
        assert slot.bodies_for(name)[: len(bodies[name])] == bodies[name]
    assert [p for p in slot.outbox if p.created < slot.now] == []


PROMETHEUS = {"PROMETHEUS_URL": DESTINATIONS["PROMETHEUS_URL"]}
MIMIR = {"MIMIR_URL": "http://mimir.test/api/v1/push"}


def test_new_destination_inherits_the_payloads_of_the_one_it_replaces() -> None:
    slot = Slot()
    slot.away = {"embedded_metrics", "embedded_logs", "prometheus", "mimir"}
    slot.start()  # without destinations: the embedded store only
    slot.post("a")
    slot.flush()
    (logs,) = [p.body for p in slot.outbox if p.kind == "logs"]
    first = [p.body for p in slot.outbox if p.kind == "metrics"]
    slot.start(**DESTINATIONS)
    slot.flush()  # the process ends again before delivery
    slot.start(**DESTINATIONS)
    assert ("loki", logs) in slot.sent
    slot.away = set()
    for _ in range(5):
        slot.flush()
    assert slot.bodies_for("prometheus")[: len(first)] == first
    assert not [n for n in slot.notices if n.event.startswith("payloads dropped")]


def test_payloads_of_a_removed_destination_are_dropped_when_the_remaining_one_has_its_own() -> None:
    slot = Slot()
    slot.away = {"prometheus"}
    slot.start(**PROMETHEUS, **ON)
    slot.flush()
    assert {payload.destination for payload in slot.outbox} == {"prometheus"}
    slot.start()
    (notice,) = [n for n in slot.notices if n.event.startswith("payloads dropped")]
    assert dict(notice.fields)["kind"] == "metrics"
    before = len(slot.sent)
    slot.run(slot.worker.poll(slot.now))
    assert slot.outbox == []
    assert len(slot.sent) == before


def test_crash_loses_no_row_of_a_view_and_a_repeated_row_is_equal() -> None:
    slot = Slot()
    slot.away = {"embedded_views"}
    slot.start(**DESTINATIONS, **ON)
    slot.post("flushed", "playing")
    slot.flush()
    slot.post("journalled", "playing")
    # The process crashes: one row is in the outbox, the events of the other view in the journal.
    slot.away = set()
    slot.start(**DESTINATIONS, **ON)
    slot.flush()
    for _ in range(3):
        slot.flush()
    rows = [row for body in slot.bodies_for("embedded_views") for row in decode_views(body)]
    assert {row.view_id for row in rows} == {"flushed", "journalled"}
    assert len({(row.view_id, row.updated_at) for row in rows}) == len(set(rows))
    assert slot.outbox == []


def test_payloads_of_two_removed_destinations_are_inherited_once() -> None:
    slot = Slot()
    slot.away = {"prometheus", "embedded_metrics"}
    slot.start(**PROMETHEUS, **ON)
    slot.flush()
    bodies = [p.body for p in slot.outbox if p.destination == "prometheus"]
    slot.start(**MIMIR)
    for _ in range(3):
        slot.flush()
    sent = slot.bodies_for("mimir")
    assert sent[: len(bodies)] == bodies
    assert len(sent) == len(set(sent))
