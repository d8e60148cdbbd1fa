"""The embedded store beside Prometheus and Loki: each gets the same, and none waits for another."""

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
)
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from tests.simulation.disk import Disk
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.loki_double import LokiDouble
from tests.support.rig import DESTINATIONS, FLUSH, MINUTE, SECOND, DeliveryResult, Rig, player_event

ON = {"OPENQOE_EMBEDDED": "on"}
REFUSED = NetworkFailure("refused")


def seek(rig: Rig, number: int) -> None:
    second = (rig.now - NOW) / SECOND
    rig.post(player_event(second, "seek", 1.0, view=f"view-{number}", seek_latency=200))


def views(loki: LokiDouble) -> list[str]:
    return [json.loads(entry.line)["view_id"] for entry in loki.entries()]


def down(rig: Rig, which: str, answer: DeliveryResult = REFUSED) -> None:
    if which == "embedded":
        rig.embedded_outage = answer
    else:
        rig.start_outage(result=answer)


@pytest.fixture(params=["embedded", "others"])
def dead(request: pytest.FixtureRequest) -> str:
    """Which of the destinations takes nothing."""
    which: str = request.param
    return which


def test_each_gets_the_same_bytes() -> None:
    rig = Rig(ON, PROMETHEUS_USERNAME="me", PROMETHEUS_PASSWORD="hush")
    seek(rig, 0)
    rig.flush(2)
    sent: dict[str, list[bytes]] = {}
    for _, effect, _ in rig.sent:
        sent.setdefault(effect.destination, []).append(effect.body)
        credentials = [value for name, value in effect.headers if name == "Authorization"]
        assert bool(credentials) == (effect.destination == "prometheus")
    assert set(sent) == {"prometheus", "embedded_metrics", "loki", "embedded_logs"}
    assert sent["prometheus"] == sent["embedded_metrics"]
    assert sent["loki"] == sent["embedded_logs"]


def test_the_requests_name_the_store_by_a_url_of_no_network() -> None:
    rig = Rig(ON)
    seek(rig, 0)
    rig.flush()
    urls = {effect.url for _, effect, _ in rig.sent if "embedded" in effect.destination}
    assert urls == {"embedded:metrics", "embedded:logs"}


def test_one_that_is_away_keeps_nothing_from_the_other(dead: str) -> None:
    rig = Rig(ON)
    down(rig, dead)
    for number in range(4):
        seek(rig, number)
        rig.flush()
    receivers = {"embedded": rig.embedded_receiver, "others": rig.receiver}
    lokis = {"embedded": rig.embedded_loki, "others": rig.loki}
    for name in receivers:
        assert receivers[name].total("openqoe_seeks_total") == (0 if name == dead else 4)
        assert len(views(lokis[name])) == (0 if name == dead else 4)
    rig.end_outage()
    rig.pass_time(2 * MINUTE)
    for name in receivers:
        assert receivers[name].total("openqoe_seeks_total") == 4
        assert views(lokis[name]) == [f"view-{number}" for number in range(4)]
    assert set(rig.worker.undelivered.values()) == {0}


def test_a_full_queue_holds_nobody_up_and_loses_no_count(dead: str) -> None:
    rig = Rig(ON, OPENQOE_QUEUE_MAX_BYTES="4096")
    rig.flush()
    down(rig, dead)
    rig.flush(20)
    full = rig.worker.undelivered
    for number in range(10):
        seek(rig, number)
        rig.flush()
        alive = rig.receiver if dead == "embedded" else rig.embedded_receiver
        assert alive.total("openqoe_seeks_total") == number + 1
    # Only what no later flush repeats has come in: the seeks' series begin in the outage.
    name = "embedded_metrics" if dead == "embedded" else "prometheus"
    waiting = rig.worker.undelivered[name] - full[name]
    assert 0 < waiting < full[name] / 4
    assert rig.total("openqoe_worker_flushes_held_total") > 5 or dead == "others"
    rig.end_outage()
    rig.pass_time(4 * MINUTE)
    for receiver in (rig.receiver, rig.embedded_receiver):
        assert receiver.total("openqoe_seeks_total") == 10
        assert receiver.total("openqoe_seek_latency_seconds_count") == 10
        for samples in receiver.select("openqoe_seeks_total").values():
            assert samples[0][1] == 0.0, "increase() needs the beginning"


def test_what_a_full_queue_takes_in_has_a_bound_of_its_own() -> None:
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


def test_if_all_are_full_the_flush_is_held() -> None:
    rig = Rig(ON, OPENQOE_QUEUE_MAX_BYTES="1024")
    rig.start_outage(result=REFUSED)
    rig.embedded_outage = HttpResult(503)
    sizes = set()
    for number in range(8):
        seek(rig, number)
        rig.flush()
        sizes.add(rig.worker.undelivered["prometheus"] + rig.worker.undelivered["embedded_metrics"])
    assert len(sizes) == 1
    rig.end_outage()
    rig.pass_time(3 * MINUTE)
    assert rig.total("openqoe_seeks_total") == 8
    assert rig.embedded_receiver.total("openqoe_seeks_total") == 8


def test_each_drops_its_own_logs(dead: str) -> None:
    rig = Rig(ON, OPENQOE_QUEUE_MAX_BYTES="2048")
    down(rig, dead)
    for number in range(30):
        seek(rig, number)
        rig.flush()
    rig.end_outage()
    rig.pass_time(2 * MINUTE)
    alive, away = (
        (rig.loki, rig.embedded_loki) if dead == "embedded" else (rig.embedded_loki, rig.loki)
    )
    assert len(views(alive)) == 30
    assert 0 < len(views(away)) < 30
    assert views(away)[-1] == "view-29"


def test_what_one_finds_too_large_the_other_gets_as_a_whole() -> None:
    rig = Rig(ON)
    rig.scripted_results = {kind: deque([HttpResult(413)]) for kind in (RemoteWrite, LokiPush)}
    rig.post(*(player_event(0, "seek", 1.0, view=f"view-{n}") for n in range(4)))
    rig.flush()
    counts = Counter(effect.destination for _, effect, _ in rig.sent)
    assert counts["prometheus"] == counts["embedded_metrics"] + 2
    assert counts["loki"] == counts["embedded_logs"] + 2
    assert sorted(views(rig.loki)) == sorted(views(rig.embedded_loki))
    assert rig.receiver.samples == rig.embedded_receiver.samples


def test_metrics_and_stats_tell_them_apart() -> None:
    rig = Rig(ON)
    seek(rig, 0)
    rig.flush(2)
    text = rig.metrics_text()
    stats = json.loads(rig.handle(Request("GET", "/stats")).body)
    names = ["prometheus", "embedded_metrics", "loki", "embedded_logs"]
    assert [one["destination"] for one in stats["destinations"]] == names
    assert list(rig.worker.undelivered) == names
    for name in names:
        assert f'openqoe_worker_queue_length{{destination="{name}"}} 0' in text


def test_a_worker_whose_outside_has_no_store_does_without() -> None:
    worker = Worker(Config.from_environment({}), instance="w-0")
    handle(worker, post(event("seek")), NOW)
    assert [e for e in worker.poll(NOW + FLUSH) if isinstance(e, RemoteWrite | LokiPush)] == []
    assert worker.undelivered == {}
    assert handle(worker, Request("GET", "/"), NOW).response.status == 404


# Over restarts


class Life:
    """Processes on one disk, one after the other."""

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

    def post(self, view: str) -> None:
        request = post(event("viewstart", at=self.now, view_id=view), now=self.now)
        self.run(handle(self.worker, request, self.now).effects)

    def flush(self) -> None:
        self.now += FLUSH
        self.run(self.worker.poll(self.now))

    def run(self, effects: tuple[Effect, ...]) -> None:
        todo = deque(effects)
        while todo:
            effect = todo.popleft()
            result: Any = None
            match effect:
                case Notice():
                    self.notices.append(effect)
                    continue
                case RemoteWrite() | LokiPush():
                    if effect.destination in self.away:
                        result = REFUSED
                    else:
                        self.sent.append((effect.destination, effect.body))
                        result = HttpResult(204)
                case _:
                    stored: StorageResult = self.disk.execute(effect)  # type: ignore[arg-type]
                    result = stored
            if hasattr(effect, "id"):
                todo += self.worker.complete(effect.id, result, self.now)

    @property
    def outbox(self) -> list[StoredPayload]:
        return list(self.disk.outbox.values())


def test_each_has_payloads_of_its_own_in_the_outbox_and_gets_them_after_a_crash() -> None:
    life = Life()
    life.away = {"prometheus", "loki", "embedded_metrics", "embedded_logs"}
    life.start(**DESTINATIONS, **ON)
    life.post("a")
    life.flush()
    names = [payload.destination for payload in life.outbox]
    assert set(names) == life.away
    assert len({payload.number for payload in life.outbox}) == len(names)
    bodies = {name: [p.body for p in life.outbox if p.destination == name] for name in life.away}
    assert bodies["prometheus"] == bodies["embedded_metrics"]
    # The process dies; of the next one's destinations one works, then the others.
    life.away = {"prometheus", "loki"}
    life.start(**DESTINATIONS, **ON)
    life.flush()
    assert {name for name, _ in life.sent} == {"embedded_metrics", "embedded_logs"}
    for name in ("embedded_metrics", "embedded_logs"):
        assert [body for to, body in life.sent if to == name][: len(bodies[name])] == bodies[name]
    assert {payload.destination for payload in life.outbox} == life.away
    life.away = set()
    life.start(**DESTINATIONS, **ON)
    for _ in range(5):
        life.flush()
    for name in ("prometheus", "loki"):
        assert [body for to, body in life.sent if to == name][: len(bodies[name])] == bodies[name]
    assert [p for p in life.outbox if p.created < life.now] == []


PROMETHEUS = {"PROMETHEUS_URL": DESTINATIONS["PROMETHEUS_URL"]}
MIMIR = {"MIMIR_URL": "http://mimir.test/api/v1/push"}


def test_whatever_takes_a_destinations_place_gets_what_waited_for_it() -> None:
    life = Life()
    life.away = {"embedded_metrics", "embedded_logs", "prometheus", "mimir"}
    life.start()  # nothing is configured: the embedded store alone
    life.post("a")
    life.flush()
    (logs,) = [p.body for p in life.outbox if p.kind == "logs"]
    first = [p.body for p in life.outbox if p.kind == "metrics"]
    life.start(**DESTINATIONS)
    life.flush()  # also when the process ends once more before it could be delivered
    life.start(**DESTINATIONS)
    assert ("loki", logs) in life.sent
    life.away = set()
    for _ in range(5):
        life.flush()
    assert [body for name, body in life.sent if name == "prometheus"][: len(first)] == first
    assert not [n for n in life.notices if n.event.startswith("payloads dropped")]


def test_what_was_stored_for_another_is_dropped_if_the_one_that_stays_has_its_own() -> None:
    life = Life()
    life.away = {"prometheus"}
    life.start(**PROMETHEUS, **ON)
    life.flush()
    assert {payload.destination for payload in life.outbox} == {"prometheus"}
    life.start()
    (notice,) = [n for n in life.notices if n.event.startswith("payloads dropped")]
    assert dict(notice.fields)["kind"] == "metrics"
    before = len(life.sent)
    life.run(life.worker.poll(life.now))
    assert life.outbox == []
    assert len(life.sent) == before


def test_two_that_are_gone_have_one_heir_between_them() -> None:
    life = Life()
    life.away = {"prometheus", "embedded_metrics"}
    life.start(**PROMETHEUS, **ON)
    life.flush()
    bodies = [p.body for p in life.outbox if p.destination == "prometheus"]
    life.start(**MIMIR)
    for _ in range(3):
        life.flush()
    sent = [body for name, body in life.sent if name == "mimir"]
    assert sent[: len(bodies)] == bodies
    assert len(sent) == len(set(sent))
