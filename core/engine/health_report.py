"""Health report: gathers the worker's own metrics, and notices of limits that were reached."""

from collections.abc import Collection, Iterable, Iterator

from ..access.tenants import MAX_TENANTS
from ..cluster.coordinator import Coordinator
from ..delivery.queue_group import QueueGroup
from ..effects import Notice
from ..metrics import health_metrics as names
from ..metrics.health_metrics import Health
from ..version import VERSION
from .components import Components


def collect(components: Components, started_at: int | None, now: int) -> None:
    """Set the health metrics whose values are kept elsewhere.

    Args:
        components: The worker's components.
        started_at: When its process began to run it (ms); None if it never said.
        now: Current time in ms.
    """
    health, applier, log = components.health, components.applier, components.log
    views, governor = applier.recorder.views, applier.governor
    health.set_gauge(names.BUILD, 1, version=VERSION)
    if started_at is not None:
        health.set_gauge(names.STARTED, started_at / 1000)
    health.set_gauge(names.SERIES, applier.registry.size)
    health.set_total(names.OVERFLOWED, applier.registry.overflowed)
    health.set_gauge(names.VIEWS, len(views))
    health.set_total(names.VIEWS_FORGOTTEN, views.evicted)
    health.set_total(names.DUPLICATES_FORGOTTEN, components.ingest.dedup.forgotten)
    health.set_total(names.GOVERNANCE_FAULTS, governor.faults)
    health.set_total(names.LABELS_SHORTENED, applier.labeller.shortened)
    health.set_gauge(names.STORAGE_OK, not components.storage_failure)
    health.set_gauge(names.FLUSH_INTERVAL, components.pace.interval / 1000)
    for name, count in governor.count_values(now).items():
        health.set_gauge(names.CARDINALITY, count, dimension=name)
    for name, dimension in governor.dimensions.items():
        health.set_total(names.FOLDED, dimension.overflowed, dimension=name)
    if log is not None:
        health.set_gauge(names.LOG_STREAMS, log.live_streams)
        for reason, count in log.adjusted.items():
            health.set_total(names.LOGS_ADJUSTED, count, reason=reason)
    _collect_queues(health, components.delivery.groups, components.pace.behind, now)
    if components.tenants.is_used:
        _collect_tenants(health, components)
    if components.coordinator is not None:
        _collect_cluster(health, components.coordinator)


def _collect_queues(
    health: Health, groups: Iterable[QueueGroup], behind: Collection[str], now: int
) -> None:
    for group in groups:
        name, status, counters = group.destination.name, group.status(now), group.counters
        health.set_gauge(names.QUEUE_PAYLOADS, status.payloads, destination=name)
        health.set_gauge(names.QUEUE_BYTES, status.bytes, destination=name)
        health.set_gauge(names.QUEUE_AGE, (status.oldest_age or 0) / 1000, destination=name)
        health.set_gauge(names.QUEUE_BEHIND, name in behind, destination=name)
        for outcome, count in counters.answers.items():
            health.set_total(names.DELIVERIES, count, destination=name, outcome=outcome)
        health.set_total(names.ITEMS_DELIVERED, counters.delivered, destination=name)
        health.set_total(names.ITEMS_REJECTED, counters.rejected, destination=name)
        health.set_total(names.BYTES_OUT, counters.bytes_out, destination=name)
        for reason, count in counters.dropped.items():
            health.set_total(names.DROPPED, count, destination=name, reason=reason)


def _collect_tenants(health: Health, components: Components) -> None:
    health.set_gauge(names.TENANTS, components.tenants.count)
    for reason, count in components.tenants.pop_refused().items():
        health.count(names.TENANTS_REFUSED, count, reason=reason)
    for group in components.delivery.groups:
        if group.destination.has_tenants:
            failing = sum(not queue.is_accepting for queue in group)
            health.set_gauge(names.TENANTS_FAILING, failing, destination=group.destination.name)


def _collect_cluster(health: Health, coordinator: Coordinator) -> None:
    health.set_gauge(names.KV_OK, not coordinator.failure)
    health.set_gauge(names.KV_WAITING, coordinator.waiting)
    health.set_total(names.KV_ALONE, coordinator.alone)
    for outcome, count in coordinator.updates.items():
        health.set_total(names.KV_UPDATES, count, outcome=outcome)


class LimitNotifier:
    """Gives one notice for each limit that was reached: from then on labels lose detail."""

    def __init__(self, components: Components) -> None:
        self._governor = components.applier.governor
        self._registry = components.applier.registry
        self._max_series = components.config.max_series
        self._log = components.log
        self._max_streams = components.config.loki_max_streams
        self._tenants = components.tenants
        self._notices = components.notices
        self._noticed: set[str] = set()
        self._checked = (-1, -1, False, False)

    def note_reached(self) -> None:
        """Give notices for limits reached since the last call."""
        near_streams = self._log is not None and self._log.is_near_stream_limit
        too_many = self._tenants.is_limited
        checked = self._governor.governed, self._registry.overflowed, near_streams, too_many
        if checked == self._checked:  # most requests bring no label that is new
            return
        self._checked = checked
        for name, notice in self._reached():
            if name not in self._noticed:
                self._noticed.add(name)
                self._notices.append(notice)

    def _reached(self) -> Iterator[tuple[str, Notice]]:
        for name, dimension in self._governor.dimensions.items():
            if dimension.overflowed:
                most = dimension.limit.max_cardinality or 0
                fields = (("dimension", name), ("max_cardinality", most))
                yield name, Notice("warning", "dimension is full", fields)
        if self._registry.overflowed:
            limit = (("max_series", self._max_series),)
            yield "series", Notice("warning", "too many series", limit)
        if self._log is not None and self._log.is_near_stream_limit:
            count = (("streams", self._log.live_streams), ("max_streams", self._max_streams))
            yield "log_streams", Notice("warning", "log streams near the limit of Loki", count)
        if self._tenants.is_limited:
            event = "too many tenants: data of further organisations goes to the default tenant"
            yield "tenants", Notice("warning", event, (("max_tenants", MAX_TENANTS),))

    def state(self) -> list[str]:
        """Return the limits already noticed, for a snapshot."""
        return sorted(self._noticed)

    def restore(self, state: list[str]) -> None:
        """Restore a captured state."""
        self._noticed.update(state)
