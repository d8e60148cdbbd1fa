"""The way out: flushes turn series and log entries into payloads, queues deliver them."""

from collections.abc import Mapping
from itertools import chain

from openqoe.core.config import Config
from openqoe.core.delivery.destinations import Destination
from openqoe.core.delivery.payload import Split
from openqoe.core.delivery.queue import DeliveryQueue
from openqoe.core.delivery.verdict import Kind
from openqoe.core.effects import HttpResult, LokiPush, NetworkFailure, Notice, RemoteWrite
from openqoe.core.metrics import health
from openqoe.core.metrics.export import Exporter
from openqoe.core.metrics.health import Health
from openqoe.core.metrics.metric import Metric
from openqoe.core.metrics.registry import Registry
from openqoe.core.qoe import catalogue
from openqoe.core.sinks import metrics as metric_sink
from openqoe.core.sinks.logs import LogBuffer
from openqoe.core.timer import Timer
from openqoe.core.version import VERSION
from openqoe.core.wire.loki import ENCODINGS

METADATA_INTERVAL = 300_000
"""ms between requests that carry the metrics' metadata."""


class Outflow:
    """Everything between the registries and the destinations.

    Attributes:
        log: Where log entries gather; None if logs go nowhere.
    """

    def __init__(self, config: Config, health: Health, *, instance: str, seed: int) -> None:
        self._config = config
        self._health = health
        self._instance = instance
        self._exporters: tuple[Exporter, ...] = ()
        self._metadata_timer = Timer(METADATA_INTERVAL)
        self._metadata_sent = False
        self._held = False
        self._notices: list[Notice] = []
        self._metrics = self._queue(config.metrics_destination, "metrics", metric_sink.split, seed)
        self.log: LogBuffer | None = None
        self._logs: DeliveryQueue | None = None
        if config.logs_destination is not None:
            self.log = LogBuffer(
                ENCODINGS[config.loki_encoding], with_metadata=config.loki_structured_metadata
            )
            self._logs = self._queue(config.logs_destination, "logs", self.log.split, seed)
        self.queues = tuple(q for q in (self._metrics, self._logs) if q is not None)

    def export(self, qoe: Registry, health: Registry) -> None:
        """Name the registries that flushes send."""
        # Our own health is read into its registry again and again, so its series never end:
        # one that did would come back from zero to the old total.
        idle = self._config.series_idle_timeout
        self._exporters = (
            Exporter(qoe, self._instance, idle),
            Exporter(health, self._instance, None),
        )

    def begin(self, now: int) -> None:
        """Note when the worker came to life; only the first call counts."""
        self._metadata_timer.start(now)
        for exporter in self._exporters:
            exporter.begin(now)

    def flush_metrics(self, now: int) -> None:
        """Send all series, unless their queue is full."""
        queue = self._metrics
        if queue is not None and queue.full:
            # The registry goes on counting and the next flush sends the totals: what an
            # outage costs is resolution in time, never a count.
            self._health.count(health.FLUSHES_HELD)
            self._held = True
            return
        self._held = False
        exported = chain.from_iterable(exporter.export(now) for exporter in self._exporters)
        if queue is None:
            for _ in exported:  # series still have to age and end
                pass
            return
        described = self._described(now)
        most = self._config.max_samples_per_request
        for payload in metric_sink.payloads(exported, described, now, most):
            self._notices += queue.offer(payload, now)

    def flush_logs(self, now: int) -> None:
        """Send all log entries."""
        if self.log is not None and self._logs is not None:
            for payload in self.log.drain(now, self._config.loki_batch_bytes):
                self._notices += self._logs.offer(payload, now)

    @property
    def has_many_logs(self) -> bool:
        """Whether so many entries wait that they should not wait for the flush."""
        return self.log is not None and self.log.size >= self._config.loki_batch_bytes

    def due(self, next_id: int, now: int) -> tuple[RemoteWrite | LokiPush, ...]:
        """The requests that are to be sent now, with ids from ``next_id`` on."""
        effects: list[RemoteWrite | LokiPush] = []
        for queue in self.queues:
            effect = queue.due(next_id + len(effects), now)
            if effect is not None:
                effects.append(effect)
        return tuple(effects)

    def complete(self, effect_id: int, result: HttpResult | NetworkFailure, now: int) -> None:
        """Take the result of a request."""
        for queue in self.queues:
            self._notices += queue.complete(effect_id, result, now)
        if self._held and self._metrics is not None and not self._metrics.full:
            self.flush_metrics(now)  # there may be no later flush: the process may be ending

    def notices(self) -> tuple[Notice, ...]:
        """What there is to tell since the last call."""
        notices, self._notices = tuple(self._notices), []
        return notices

    def hurry(self) -> None:
        """The process is about to end: try again without delay."""
        for queue in self.queues:
            queue.hurry()

    def next_poll(self) -> int | None:
        """When the next request will be due."""
        times = [queue.next_poll for queue in self.queues]
        return min((time for time in times if time is not None), default=None)

    @property
    def waiting(self) -> Mapping[str, int]:
        """Samples or log entries that wait, by destination."""
        return {
            queue.destination.name: sum(payload.items for payload in queue.waiting)
            for queue in self.queues
        }

    def _described(self, now: int) -> tuple[Metric, ...]:
        if self._metadata_sent and not self._metadata_timer.is_due(now):
            return ()
        self._metadata_sent = True
        self._metadata_timer.restart(now)
        # Some names are a gauge and a histogram; metadata knows one type for a name.
        by_name = {metric.name: metric for metric in (*catalogue.METRICS, *health.METRICS)}
        return tuple(by_name.values())

    def _queue(
        self, destination: Destination | None, kind: Kind, split: Split, seed: int
    ) -> DeliveryQueue | None:
        if destination is None:
            return None
        return DeliveryQueue(
            destination,
            kind,
            max_bytes=self._config.queue_max_bytes,
            seed=seed,
            split=split,
            user_agent=f"openqoe-worker/{VERSION}",
        )
