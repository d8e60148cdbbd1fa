"""A worker under a clock, between a player and two strict receivers, all in one process.

    rig = Rig(OPENQOE_FLUSH_INTERVAL="1")
    rig.post(told(0, "playing", 0.0), told(10, "heartbeat", 9.5, playing_time=9_500))
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 9.5

Nothing here sleeps or opens a socket: the clock moves when the test says so, every effect is run
the moment it comes out, and the receivers are the doubles of `receiver` and `loki`, asked directly.
A rule of remote write that is broken fails the test that broke it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from openqoe.core.config.destinations import EMBEDDED
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Effect, HttpResult, LokiPush, NetworkFailure, Notice, RemoteWrite
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Worker
from tests.support.event_builders import NOW, OMIT, event, post
from tests.support.http_double import HttpDouble, ReceivedRequest
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
FLUSH: Final = 15 * SECOND
"""The flush interval unless a test sets another."""

DESTINATIONS: Final = {
    "PROMETHEUS_URL": "http://prometheus.test/api/v1/write",
    "LOKI_URL": "http://loki.test/loki/api/v1/push",
}

BASE_LABELS: Final = frozenset(
    [
        "org_id",
        "player_id",
        "env",
        "app_name",
        "app_version",
        "device_category",
        "os_family",
        "browser_family",
        "player_name",
        "network_country",
        "video_id",
        "content_type",
        "instance",
    ]
)

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
    """An event as a player tells it: when (s after NOW), what, at which position (s), its data."""
    return event(
        event_type,
        at=NOW + round(second * 1000),
        playback_time=OMIT if position is None else position * 1000,
        player={"name": player},
        view_id=view,
        video=OMIT if video is None else {"id": video},
        data=data,
    )


class Rig:
    """The worker, its clock and its receivers.

    Args:
        settings: Environment variables beside the destinations.
        seed: The worker's.
        **more_settings: The same; None takes a destination away.

    Attributes:
        receiver: What the metrics came to.
        loki: What the logs came to.
        embedded_receiver: What the metrics of the embedded store came to (OPENQOE_EMBEDDED=on).
        embedded_loki: What its logs came to.
        notices: What the operator was told, in order.
        sent: Every request to a destination with its time and answer, in order.
        answers: Answers to give in place of the receiver's own, by kind of request, one each.
        stuck: The same, as long as it stands there; see `down` and `up`.
        embedded_outage: The same for the embedded store, which has no other script.
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
        self.worker = Worker(config, instance="rig-0", seed=seed, embedded=embedded)
        self.worker.started(NOW)
        self._latest = NOW
        self.receiver = RemoteWriteDouble(now_ms=lambda: self._latest)
        self.loki = LokiDouble(now_ms=lambda: self._latest)
        self.embedded_receiver = RemoteWriteDouble(now_ms=lambda: self._latest)
        self.embedded_loki = LokiDouble(now_ms=lambda: self._latest)
        self.embedded_outage: DeliveryResult | None = None
        self.notices: list[Notice] = []
        self.sent: list[tuple[int, RemoteWrite | LokiPush, DeliveryResult]] = []
        self.scripted_results: dict[type[RemoteWrite] | type[LokiPush], deque[DeliveryResult]] = {
            RemoteWrite: deque(),
            LokiPush: deque(),
        }
        self._outages: dict[type[RemoteWrite] | type[LokiPush], DeliveryResult | None] = {
            RemoteWrite: None,
            LokiPush: None,
        }
        self._run(self.worker.poll(NOW))

    # --- what happens -----------------------------------------------------------------------------

    def post(self, *events: Any, headers: Mapping[str, str] | None = None) -> Response:
        """A player sends a batch now; it has to be accepted."""
        response = self.handle(post(*events, headers=headers, now=self.now))
        assert response.status == 202, response.body
        return response

    def handle(self, request: Request) -> Response:
        """A request comes now."""
        outcome = self.worker.handle(request, self.now)
        self._run(outcome.effects)
        return outcome.response

    def pass_time(self, ms: int) -> None:
        """Time goes by; the worker is woken whenever it wanted to be."""
        until = self.now + ms
        while (due := self.worker.next_poll()) is not None and due <= until:
            self.now = max(self.now, due)
            self._run(self.worker.poll(self.now))
        self.now = until

    def flush(self, times: int = 1) -> None:
        """Time goes by until the next flush."""
        self.pass_time(times * self.worker.config.flush_interval)

    def close(self) -> None:
        """The process is told to stop."""
        self._run(self.worker.close(self.now))

    def start_outage(
        self, *kinds: type[RemoteWrite] | type[LokiPush], result: DeliveryResult
    ) -> None:
        """From now on these receivers (all if none is named) keep nothing and answer so."""
        for kind in kinds or (RemoteWrite, LokiPush):
            self._outages[kind] = result

    def end_outage(self) -> None:
        """All receivers work again."""
        self._outages = dict.fromkeys(self._outages)
        self.embedded_outage = None

    # --- what came of it --------------------------------------------------------------------------

    def total(self, name: str, **labels: str) -> float:
        """The newest values of all series with this name and at least these labels, added up."""
        return self.receiver.total(name, **labels)

    def qoe_series(self) -> dict[str, float]:
        """The newest values of the QoE series that have not ended, under name and own labels; added
        up over the base labels.
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
        """The lines that Loki has kept, oldest first."""
        return [entry.line for entry in self.loki.entries()]

    def metrics_text(self) -> str:
        """What `/metrics` shows."""
        return self.handle(Request("GET", "/metrics")).body.decode()

    # --- effects ----------------------------------------------------------------------------------

    def _run(self, effects: Iterable[Effect]) -> None:
        # The receivers' clock is right: it does not go back when the worker's is put back.
        self._latest = max(self._latest, self.now)
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            if isinstance(effect, Notice):
                self.notices.append(effect)
            else:
                assert isinstance(effect, RemoteWrite | LokiPush), (
                    "the rig's worker has neither disk nor store"
                )
                answer = self._answer(effect)
                self.sent.append((self.now, effect, answer))
                waiting += self.worker.complete(effect.id, answer, self.now)
        assert self.receiver.violations == self.embedded_receiver.violations == []

    def _answer(self, effect: RemoteWrite | LokiPush) -> DeliveryResult:
        kind = type(effect)
        if effect.url.startswith(EMBEDDED):
            embedded = self.embedded_receiver if kind is RemoteWrite else self.embedded_loki
            return self.embedded_outage or deliver(effect, embedded)
        if self.scripted_results[kind]:
            return self.scripted_results[kind].popleft()
        stuck = self._outages[kind]
        if stuck is not None:
            return stuck
        return deliver(effect, self.receiver if kind is RemoteWrite else self.loki)


def deliver(effect: RemoteWrite | LokiPush, double: HttpDouble) -> HttpResult:
    """Hand a request to a double without a network."""
    headers = {name.lower(): value for name, value in effect.headers}
    path = urlsplit(effect.url).path
    if effect.url.startswith(EMBEDDED):
        path = urlsplit(DESTINATIONS["PROMETHEUS_URL" if path == "metrics" else "LOKI_URL"]).path
    reply = double.respond(ReceivedRequest("POST", path, headers, effect.body, time.monotonic()))
    return HttpResult(reply.status, dict(reply.headers), reply.body)
