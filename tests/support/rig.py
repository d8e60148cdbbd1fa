"""One worker under a simulated clock, between a player and two strict receivers, in one process.

    rig = Rig(OPENQOE_FLUSH_INTERVAL="1")
    rig.post(player_event(0, "playing", 0.0), player_event(10, "heartbeat", playing_time=9_500))
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 9.5

Nothing here sleeps or opens a socket. The test moves the clock, every effect runs as soon as the
worker returns it, and the receivers are `RemoteWriteDouble` and `LokiDouble`, called directly.
A violation of a remote-write rule fails the test.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from openqoe.core.config.destinations import EMBEDDED
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import (
    Delivery,
    Effect,
    HttpResult,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
    StoreViews,
)
from openqoe.core.http.messages import Request, Response
from openqoe.core.qoe.labeller import METRIC_LABELS
from openqoe.core.qoe.view_rows import ViewRow
from openqoe.core.worker import Worker
from openqoe.embedded.payload_decoder import decode_views
from tests.support.event_builders import NOW, OMIT, event, post
from tests.support.handling import handle
from tests.support.http_double import HttpDouble, ReceivedRequest
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
FLUSH: Final = 15 * SECOND
"""The default flush interval, in ms."""

DESTINATIONS: Final = {
    "PROMETHEUS_URL": "http://prometheus.test/api/v1/write",
    "LOKI_URL": "http://loki.test/loki/api/v1/push",
}

BASE_LABELS: Final = frozenset({*METRIC_LABELS, "instance"})

RigDelivery = RemoteWrite | LokiPush | StoreViews

DeliveryResult = HttpResult | NetworkFailure


def player_event(
    second: float,
    event_type: str,
    position: float | None = None,
    *,
    player: str = "hlsjs",
    view: str = "view-1",
    video: str | None = "film",
    **data: Any,
) -> dict[str, Any]:
    """An event of a player.

    Args:
        second: Seconds after NOW.
        event_type: Its type.
        position: Playback position in s; None leaves the field out.
        **data: Members of `data`.
    """
    return event(
        event_type,
        at=NOW + round(second * 1000),
        playback_time=OMIT if position is None else position * 1000,
        player={"name": player},
        view_id=view,
        video=OMIT if video is None else {"id": video},
        data=data,
    )


def cmcd_record(second: float, keys: str, *, view: str = "view-1") -> str:
    """A record of a CMCD player; ``keys`` are its event and those that matter.

    Args:
        second: Seconds after NOW.
        keys: Further keys of the record.
        view: Its session.
    """
    return f'cid="film",sid="{view}",ts={NOW + round(second * 1000)},v=2,{keys}'


class Rig:
    """A worker, its clock and its receivers.

    Args:
        settings: Environment variables in addition to the destinations.
        seed: Seed of the worker.
        **more_settings: Further environment variables; None removes a destination.

    Attributes:
        receiver: Receives the metrics.
        loki: Receives the logs.
        embedded_receiver: Receives the metrics of the embedded store (OPENQOE_EMBEDDED=on).
        embedded_loki: Receives the logs of the embedded store.
        notices: Notices for the operator, in order.
        sent: Every request to a destination with its time and result, in order.
        scripted_results: Results that replace those of the receiver, one per request, by kind.
        embedded_outage: Result of every request to the embedded store; None while it works.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        seed: int = 1,
        **more_settings: str | None,
    ) -> None:
        environment = {**DESTINATIONS, **(settings or {}), **more_settings}
        config = Config.from_environment({k: v for k, v in environment.items() if v is not None})
        self.now = NOW
        embedded = config.embedded == "on"
        self.worker = Worker(config, instance="rig-0", seed=seed, embedded=embedded, started_at=NOW)
        self._latest = NOW
        self.receiver = RemoteWriteDouble(now_ms=lambda: self._latest)
        self.loki = LokiDouble(now_ms=lambda: self._latest)
        self.embedded_receiver = RemoteWriteDouble(now_ms=lambda: self._latest)
        self.embedded_loki = LokiDouble(now_ms=lambda: self._latest)
        self.embedded_outage: DeliveryResult | None = None
        self.view_rows: list[ViewRow] = []
        self.notices: list[Notice] = []
        self.sent: list[tuple[int, RigDelivery, DeliveryResult]] = []
        self.scripted_results: dict[type[RemoteWrite] | type[LokiPush], deque[DeliveryResult]] = {
            RemoteWrite: deque(),
            LokiPush: deque(),
        }
        self._outages: dict[type[RemoteWrite] | type[LokiPush], DeliveryResult | None] = {
            RemoteWrite: None,
            LokiPush: None,
        }
        self._run(self.worker.poll(NOW))

    # --- actions ----------------------------------------------------------------------------------

    def post(self, *events: Any, headers: Mapping[str, str] | None = None) -> Response:
        """Post a batch now and assert that it is accepted."""
        response = self.handle(post(*events, headers=headers, now=self.now))
        assert response.status == 202, response.body
        return response

    def post_cmcd(self, *records: str, query: str = "org_id=acme&player_id=web") -> None:
        """Post CMCD records now and assert that they are accepted."""
        body = "".join(f"{record}\n" for record in records).encode()
        headers = {"content-type": "application/cmcd"}
        response = self.handle(Request("POST", "/v1/cmcd", query, headers, body, self.now))
        assert response.status == 204, response.body

    def post_seek(self, number: int) -> None:
        """Post a seek in the view of a number."""
        second = (self.now - NOW) / SECOND
        self.post(player_event(second, "seek", 1.0, view=f"view-{number}", seek_latency=200))

    def handle(self, request: Request) -> Response:
        """Handle a request now."""
        outcome = handle(self.worker, request, self.now)
        self._run(outcome.effects)
        return outcome.response

    def pass_time(self, ms: int) -> None:
        """Advance the clock and poll the worker whenever it is due."""
        until = self.now + ms
        while (due := self.worker.next_poll()) is not None and due <= until:
            self.now = max(self.now, due)
            self._run(self.worker.poll(self.now))
        self.now = until

    def flush(self, times: int = 1) -> None:
        """Advance the clock to the next flush, or by several."""
        self.pass_time(times * self.worker.config.flush_interval)

    def close(self) -> None:
        """Stop the worker."""
        self._run(self.worker.close(self.now))

    def start_outage(
        self, *kinds: type[RemoteWrite] | type[LokiPush], result: DeliveryResult
    ) -> None:
        """Make these receivers (all if none is named) store nothing and return this result."""
        for kind in kinds or (RemoteWrite, LokiPush):
            self._outages[kind] = result

    def end_outage(self) -> None:
        """Make all receivers work again."""
        self._outages = dict.fromkeys(self._outages)
        self.embedded_outage = None

    # --- results ----------------------------------------------------------------------------------

    def total(self, name: str, **labels: str) -> float:
        """The sum of the newest values of all series with this name and at least these labels."""
        return self.receiver.total(name, **labels)

    def qoe_series(self) -> dict[str, float]:
        """The newest values of the live QoE series by name and own labels, summed over the base
        labels.
        """
        found: dict[str, float] = {}
        for labels, samples in self.receiver.samples.items():
            value = samples[-1][1]
            own = {name: text for name, text in labels if name not in BASE_LABELS}
            name = own.pop("__name__")
            if name.startswith("openqoe_worker_") or not isinstance(value, float):
                continue
            inside = ",".join(f'{label}="{text}"' for label, text in own.items())
            series = f"{name}{{{inside}}}" if inside else name
            found[series] = found.get(series, 0.0) + value
        return found

    def log_lines(self) -> list[str]:
        """The lines that Loki has stored, oldest first."""
        return [entry.line for entry in self.loki.entries()]

    def metrics_text(self) -> str:
        """The body of `/metrics`."""
        return self.handle(Request("GET", "/metrics")).body.decode()

    # --- effects ----------------------------------------------------------------------------------

    def _run(self, effects: Iterable[Effect]) -> None:
        # The receivers' clock is correct: it does not jump back with the worker's.
        self._latest = max(self._latest, self.now)
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            if isinstance(effect, Notice):
                self.notices.append(effect)
            else:
                assert isinstance(effect, RigDelivery), "the rig's worker has no disk or store"
                result = self._deliver(effect)
                self.sent.append((self.now, effect, result))
                waiting += self.worker.complete(effect.id, result, self.now)
        assert self.receiver.violations == self.embedded_receiver.violations == []

    def _deliver(self, effect: RigDelivery) -> DeliveryResult:
        if isinstance(effect, StoreViews):
            if self.embedded_outage is None:
                self.view_rows += decode_views(effect.body)
            return self.embedded_outage or HttpResult(204)
        kind = type(effect)
        if effect.url.startswith(EMBEDDED):
            embedded = self.embedded_receiver if kind is RemoteWrite else self.embedded_loki
            return self.embedded_outage or deliver(effect, embedded)
        if self.scripted_results[kind]:
            return self.scripted_results[kind].popleft()
        outage = self._outages[kind]
        if outage is not None:
            return outage
        return deliver(effect, self.receiver if kind is RemoteWrite else self.loki)


def logged_views(loki: LokiDouble) -> list[str]:
    """Return the view of each line that Loki has stored, oldest first."""
    return [json.loads(entry.line)["view_id"] for entry in loki.entries()]


def deliver(effect: Delivery, double: HttpDouble) -> HttpResult:
    """Pass a request to a double without a network."""
    headers = {name.lower(): value for name, value in effect.headers}
    path = urlsplit(effect.url).path
    if effect.url.startswith(EMBEDDED):
        path = urlsplit(DESTINATIONS["PROMETHEUS_URL" if path == "metrics" else "LOKI_URL"]).path
    reply = double.respond(ReceivedRequest("POST", path, headers, effect.body, time.monotonic()))
    return HttpResult(reply.status, dict(reply.headers), reply.body)
