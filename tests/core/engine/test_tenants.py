"""Tenants: each gets its own data, and none waits for another."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable

import pytest

from openqoe.core import Config, Worker
from openqoe.core.access.tenants import LIFETIME, MAX_TENANTS
from openqoe.core.effects import (
    Effect,
    HttpResult,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
    StoreViews,
)
from openqoe.core.http.messages import Request
from tests.support.disk import Disk
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.rig import FLUSH, HOUR, MINUTE, deliver

DEFAULT = "openqoe"
TIMED_OUT = NetworkFailure("timed out after 10 s")
FAULTS: dict[str, HttpResult | NetworkFailure] = {
    "429": HttpResult(429),
    "500": HttpResult(500),
    "time-out": TIMED_OUT,
}


class Cluster:
    """A worker with a disk, and a Mimir and a Loki with tenants that can fail one by one.

    Attributes:
        failing: Results of the requests for tenants that fail.
        mimir: What each tenant has received.
        embedded: The metrics that the embedded store has received.
    """

    def __init__(self, *, durable: bool = True, **settings: str) -> None:
        self.settings = {
            "MIMIR_URL": "http://mimir.test/api/v1/push",
            "LOKI_URL": "http://loki.test/loki/api/v1/push",
            "OPENQOE_TENANT": "{org_id}",
            **settings,
        }
        self.now = NOW
        self.durable = durable
        self.disk = Disk()
        self.failing: dict[str, HttpResult | NetworkFailure] = {}
        self.mimir: dict[str, RemoteWriteDouble] = {}
        self.loki = LokiDouble(now_ms=lambda: self.now)
        self.embedded = RemoteWriteDouble(now_ms=lambda: self.now)
        self.notices: list[Notice] = []
        self.sent: list[tuple[str, str]] = []  # destination and tenant of each request
        self.start()

    def start(self, **settings: str) -> None:
        """Start a process; one before has crashed."""
        config = Config.from_environment({**self.settings, **settings})
        if self.durable:
            self.worker = self.disk.restore(
                config, "host-0", 1, self.now, shared=False, budget=1_000_000
            )
        else:
            self.worker = Worker(config, instance="host-0", seed=1, embedded=True)
        self.run(self.worker.poll(self.now))

    def seek(self, *orgs: str) -> None:
        """Post a batch with a seek of each organisation."""
        events = [
            event(
                "seek",
                at=self.now,
                org_id=org,
                view_id=f"{org}-{self.now}-{number}",
                data={"seek_latency": 200},
            )
            for number, org in enumerate(orgs)
        ]
        request = post(*events, now=self.now)
        self.run(handle(self.worker, request, self.now).effects)

    def pass_time(self, ms: int) -> None:
        until = self.now + ms
        while (due := self.worker.next_poll()) is not None and due <= until:
            self.now = max(self.now, due)
            self.run(self.worker.poll(self.now))
        self.now = until

    def flush(self, times: int = 1) -> None:
        self.pass_time(times * self.worker.config.flush_interval)

    def ask(self, path: str) -> str:
        handled = handle(self.worker, Request("GET", path), self.now)
        self.run(handled.effects)
        return handled.response.body.decode()

    def run(self, effects: Iterable[Effect]) -> None:
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case Notice():
                    self.notices.append(effect)
                case RemoteWrite() | LokiPush() | StoreViews():
                    result = self.deliver(effect)
                    waiting += self.worker.complete(effect.id, result, self.now)
                case _:
                    stored = self.disk.execute(effect)  # type: ignore[arg-type]
                    if hasattr(effect, "id"):
                        waiting += self.worker.complete(effect.id, stored, self.now)
        assert not any(one.violations for one in self.mimir.values())

    def deliver(self, effect: RemoteWrite | LokiPush | StoreViews) -> HttpResult | NetworkFailure:
        if effect.is_embedded:
            is_metrics = isinstance(effect, RemoteWrite)
            return deliver(effect, self.embedded) if is_metrics else HttpResult(204)
        (tenant,) = [value for name, value in effect.headers if name == "X-Scope-OrgID"]
        self.sent.append((effect.destination, tenant))
        if tenant in self.failing:
            return self.failing[tenant]
        if isinstance(effect, LokiPush):
            return deliver(effect, self.loki)
        mimir = self.mimir.setdefault(tenant, RemoteWriteDouble(now_ms=lambda: self.now))
        return deliver(effect, mimir)

    def seeks(self, tenant: str) -> float:
        """The seeks that a tenant has received."""
        return 0 if tenant not in self.mimir else self.mimir[tenant].total("openqoe_seeks_total")

    def orgs_of_logs(self, tenant: str) -> list[str]:
        """The organisations of the log lines of a tenant."""
        return [json.loads(entry.line)["org_id"] for entry in self.loki.entries(tenant)]

    def orgs_of_series(self, tenant: str) -> set[str]:
        """The organisations that series of a tenant name."""
        return {value for labels in self.mimir[tenant].samples for name, value in labels
                if name == "org_id"}  # fmt: skip


def test_each_organisation_gets_its_own_series_and_log_lines_only() -> None:
    cluster = Cluster()
    cluster.seek("acme", "zeta", "acme")
    cluster.flush(2)
    assert set(cluster.mimir) == {DEFAULT, "acme", "zeta"}
    for org, count in (("acme", 2), ("zeta", 1)):
        assert cluster.seeks(org) == count
        assert cluster.orgs_of_series(org) == {org}
        assert cluster.orgs_of_logs(org) == [org] * count
    assert cluster.orgs_of_series(DEFAULT) == set()
    assert cluster.mimir[DEFAULT].total("openqoe_worker_build_info") == 1
    assert cluster.orgs_of_logs(DEFAULT) == []


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "memory"])
@pytest.mark.parametrize("fault", FAULTS)
def test_outage_of_one_tenant_does_not_delay_another_and_loses_nothing(
    fault: str, durable: bool
) -> None:
    cluster = Cluster(durable=durable)
    cluster.failing = {"acme": FAULTS[fault]}
    for number in range(1, 5):
        cluster.seek("acme", "zeta")
        cluster.flush()
        assert (cluster.seeks("zeta"), cluster.seeks("acme")) == (number, 0)
        assert len(cluster.orgs_of_logs("zeta")) == number
    assert json.loads(cluster.ask("/ready"))["status"] == "ready"
    cluster.failing = {}
    cluster.pass_time(6 * MINUTE)
    assert (cluster.seeks("zeta"), cluster.seeks("acme")) == (4, 4)
    assert cluster.orgs_of_logs("acme") == ["acme"] * 4
    assert set(cluster.worker.undelivered.values()) == {0}


def test_queues_of_tenants_survive_a_crash() -> None:
    cluster = Cluster()
    cluster.failing = {"acme": FAULTS["500"], "zeta": TIMED_OUT}
    cluster.seek("acme", "zeta", "zeta")
    cluster.flush()
    cluster.seek("acme", "zeta", "zeta")  # in the journal only
    waiting = {payload.destination for payload in cluster.disk.outbox.values()}
    assert waiting == {"mimir/acme", "loki/acme", "mimir/zeta", "loki/zeta"}
    del cluster.failing["zeta"]
    cluster.start()
    cluster.flush(2)
    assert (cluster.seeks("zeta"), cluster.seeks("acme")) == (4, 0)
    del cluster.failing["acme"]
    cluster.start()
    cluster.pass_time(6 * MINUTE)
    assert (cluster.seeks("zeta"), cluster.seeks("acme")) == (4, 2)
    assert cluster.orgs_of_logs("acme") == ["acme"] * 2
    assert not cluster.disk.outbox


def test_payloads_that_wait_go_to_the_tenant_they_were_for_after_the_setting_is_gone() -> None:
    cluster = Cluster()
    cluster.failing = {"acme": TIMED_OUT}
    cluster.seek("acme")
    cluster.flush()
    cluster.failing = {}
    cluster.start(OPENQOE_TENANT="team")
    cluster.seek("acme")
    cluster.pass_time(MINUTE)
    assert cluster.orgs_of_logs("acme") == cluster.orgs_of_logs("team") == ["acme"]
    assert cluster.seeks("team") == 2  # the series goes on there
    assert not cluster.disk.outbox


def test_organisations_above_the_limit_share_the_default_tenant() -> None:
    cluster = Cluster(CARDINALITY_LIMITS='{"org_id": {"max_cardinality": 1000}}')
    orgs = [f"org-{n}" for n in range(MAX_TENANTS + 20)]
    for first in range(0, len(orgs), 55):
        cluster.seek(*orgs[first : first + 55])
    cluster.flush(2)
    assert len({tenant for _, tenant in cluster.sent}) == MAX_TENANTS + 1
    assert sum(cluster.seeks(tenant) for tenant in cluster.mimir) == len(orgs)
    assert cluster.seeks(DEFAULT) == 20
    assert cluster.orgs_of_series(DEFAULT) == set(orgs[MAX_TENANTS:])
    assert sorted(cluster.orgs_of_logs(DEFAULT)) == sorted(orgs[MAX_TENANTS:])
    text = cluster.ask("/metrics")
    assert f"openqoe_worker_tenants {MAX_TENANTS}" in text
    assert 'openqoe_worker_tenants_refused_total{reason="limit"} 20' in text
    assert sum("too many tenants" in notice.event for notice in cluster.notices) == 1


def test_labels_of_folded_organisations_reach_only_the_default_tenant() -> None:
    cluster = Cluster(CARDINALITY_LIMITS='{"org_id": {"max_cardinality": 1}}')
    cluster.seek("acme", "zeta")
    cluster.flush(2)
    assert cluster.orgs_of_series("acme") == {"acme"}
    (folded,) = cluster.orgs_of_series(DEFAULT)
    assert folded.startswith("hash_")
    assert cluster.orgs_of_logs("zeta") == ["zeta"]  # lines hold the organisation itself


def test_outage_of_one_tenant_leaves_room_for_the_others() -> None:
    cluster = Cluster(durable=False, OPENQOE_QUEUE_MAX_BYTES="8192")
    cluster.failing = {"acme": TIMED_OUT}
    for _ in range(40):
        cluster.seek("acme", "acme", "zeta")
        cluster.flush()
    assert cluster.seeks("zeta") == 40
    assert len(cluster.orgs_of_logs("zeta")) == 40
    text = cluster.ask("/metrics")
    (size,) = [line for line in text.splitlines() if 'queue_bytes{destination="loki"}' in line]
    assert 4096 < float(size.split()[-1]) <= 2 * 8192
    cluster.failing = {}
    cluster.pass_time(10 * MINUTE)
    assert cluster.seeks("acme") == 80  # totals are never lost
    assert 0 < len(cluster.orgs_of_logs("acme")) < 80  # the oldest are


def test_reports_add_up_tenants_and_name_those_that_fail() -> None:
    cluster = Cluster()
    cluster.failing = {"acme": HttpResult(429, {}, b"ingestion rate limit")}
    cluster.seek("acme", "zeta")
    cluster.flush()
    stats = json.loads(cluster.ask("/stats"))["destinations"]
    shown = {one["destination"]: one for one in stats}
    assert shown["mimir"]["state"] == "failing"
    assert shown["mimir"]["payloads"] >= 1
    assert shown["mimir"]["tenants"]["count"] == 3
    (failing,) = shown["mimir"]["tenants"]["failing"]
    assert (failing["tenant"], failing["state"]) == ("acme", "failing")
    assert failing["last_error"] == "429: ingestion rate limit"
    text = cluster.ask("/metrics")
    assert 'openqoe_worker_tenants_failing{destination="mimir"} 1' in text
    assert "mimir/acme" not in text  # the number of series does not grow with tenants


def test_counters_keep_the_deliveries_of_a_tenant_that_was_released() -> None:
    cluster = Cluster(
        durable=False, OPENQOE_SERIES_IDLE_TIMEOUT="600", OPENQOE_FLUSH_INTERVAL="240"
    )
    cluster.seek("acme")
    cluster.flush(2)

    def delivered() -> float:
        lines = cluster.ask("/metrics").splitlines()
        (line,) = [one for one in lines if 'items_delivered_total{destination="loki"}' in one]
        return float(line.split()[-1])

    assert delivered() == 1
    cluster.pass_time(LIFETIME + HOUR)
    assert "openqoe_worker_tenants 0" in cluster.ask("/metrics")
    assert delivered() == 1
    cluster.seek("acme")
    cluster.flush(2)
    assert delivered() == 2


def test_embedded_store_gets_the_data_of_all_tenants() -> None:
    cluster = Cluster(OPENQOE_EMBEDDED="on")
    cluster.failing = {"acme": TIMED_OUT}
    cluster.seek("acme", "zeta")
    cluster.flush(2)
    assert cluster.embedded.total("openqoe_seeks_total", org_id="acme") == 1
    assert cluster.embedded.total("openqoe_seeks_total", org_id="zeta") == 1
    assert not [name for name, _ in cluster.sent if name.startswith("embedded")]


@pytest.mark.parametrize("settings", [{}, {"OPENQOE_TENANT": "team"}], ids=["none", "fixed"])
def test_without_tenants_there_is_one_queue_a_destination(settings: dict[str, str]) -> None:
    base = {
        "MIMIR_URL": "http://mimir.test/api/v1/push",
        "LOKI_URL": "http://loki.test/loki/api/v1/push",
    }
    worker = Worker(Config.from_environment({**base, **settings}), instance="host-0")
    handle(worker, post(event("seek", org_id="acme"), event("seek", org_id="zeta")), NOW)
    effects = worker.poll(NOW + FLUSH)
    sent = [one for one in effects if isinstance(one, RemoteWrite | LokiPush)]
    assert [one.destination for one in sent] == ["mimir", "loki"]
    text = handle(worker, Request("GET", "/metrics"), NOW).response.body.decode()
    assert "openqoe_worker_tenants" not in text
    stats = json.loads(handle(worker, Request("GET", "/stats"), NOW).response.body)
    assert "tenants" not in stats["destinations"][0]
