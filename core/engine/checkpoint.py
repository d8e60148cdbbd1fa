"""Checkpoints: captures the state of all components, and restores it into new ones.

``snapshot`` turns a captured state into bytes.
"""

from ..cluster.coordinator import CoordinatorState
from ..metrics import health_metrics
from ..metrics.label_table import LabelTable
from ..metrics.registry import metric_name
from ..primitives.incremental import IncrementalWork, run_to_end
from ..primitives.timer import Timer
from ..qoe import catalogue
from .components import Components
from .health_report import LimitNotifier
from .snapshot import Snapshot

_METRICS = {metric_name(metric): metric for metric in (*catalogue.METRICS, *health_metrics.METRICS)}


def capture(
    components: Components, limits: LimitNotifier, flush_timer: Timer
) -> IncrementalWork[Snapshot]:
    """Capture the state. No batch may be applied meanwhile."""
    applier, log, table = components.applier, components.log, LabelTable()
    coordinator = components.coordinator
    qoe = yield from applier.registry.capture_state(table)
    recorder = yield from applier.recorder.capture_state(table)
    # At once, since requests change these series meanwhile; they are few.
    health = run_to_end(components.health.registry.capture_state(table))
    exporters = []
    for exporter in components.export.series_exporters:
        exporters.append((yield from exporter.capture_state(table)))
    dimensions = {}
    for name, dimension in applier.governor.dimensions.items():
        dimensions[name] = yield from dimension.capture_state()
    labels = yield from table.capture_state()
    return Snapshot(
        labels,
        qoe,
        health,
        tuple(exporters),
        recorder,
        dimensions,
        applier.governor.faults,
        applier.labeller.capture_state(),
        {} if log is None else dict(log.adjusted),
        components.ingest.dedup.forgotten,
        components.delivery.capture_state(),
        components.export.capture_state(),
        flush_timer.capture_state(),
        limits.state(),
        applier.is_dirty,
        None if coordinator is None else coordinator.capture_state(),
        (0, {}) if log is None else log.capture_streams(),
        components.ingest.limits.capture_state(),
    )


def restore(
    saved: Snapshot, components: Components, limits: LimitNotifier, flush_timer: Timer
) -> None:
    """Restore a captured state into new components."""
    applier, log = components.applier, components.log
    table = LabelTable.from_state(saved.labels)
    applier.registry.restore_state(saved.qoe, table, _METRICS)
    components.health.restore_state(saved.health, table, _METRICS)
    for exporter, state in zip(components.export.series_exporters, saved.exporters, strict=True):
        exporter.restore_state(state, table, _METRICS)
    applier.recorder.restore_state(saved.recorder, table)
    if components.forwarding is not None:
        partition, views = components.forwarding.partition, applier.recorder.views
        views.discard_views(
            key for key in views.list_keys() if partition.owner_of(key.view_id) != partition.own
        )
    for name, dimension in applier.governor.dimensions.items():
        if name in saved.dimensions:
            dimension.restore_state(saved.dimensions[name])
    applier.governor.faults = saved.governance_faults
    applier.labeller.restore_state(saved.labeller)
    if log is not None:
        log.adjusted.update(saved.logs_adjusted)
        log.restore_streams(*saved.log_streams)
    components.ingest.dedup.forgotten = saved.batches_forgotten
    components.ingest.limits.restore_state(saved.quotas)
    components.delivery.restore_state(saved.queues, saved.export.heirs)
    components.export.restore_state(saved.export)
    flush_timer.restore_state(saved.flushed_at)
    if components.coordinator is not None:
        components.coordinator.restore_state(saved.coordinator or CoordinatorState())
    limits.restore(saved.noticed)
    applier.is_dirty = saved.is_dirty
