"""The state of a worker's parts: taken for a snapshot, and put back into new ones.

Its form as bytes is the matter of ``core/engine/snapshot``.
"""

from ..cluster.coordinator import CoordinatorState
from ..metrics import health_metrics
from ..metrics.label_table import LabelTable
from ..metrics.registry import metric_name
from ..primitives.incremental import Work, finish
from ..primitives.timer import Timer
from ..qoe import catalogue
from .components import Components
from .health_report import LimitNotifier
from .snapshot import Snapshot

_METRICS = {metric_name(metric): metric for metric in (*catalogue.METRICS, *health_metrics.METRICS)}


def take(parts: Components, limits: LimitNotifier, flush_timer: Timer) -> Work[Snapshot]:
    """The state. Meanwhile batches must be held."""
    ingest, outflow, table = parts.ingest, parts.outflow, LabelTable()
    qoe = yield from ingest.registry.state(table)
    meter = yield from ingest.meter.state(table)
    own = finish(parts.health.registry.state(table))  # few, and requests go on
    exporters = []
    for exporter in outflow.exporters:
        exporters.append((yield from exporter.state(table)))
    dimensions = {}
    for name, dimension in ingest.governor.dimensions.items():
        dimensions[name] = yield from dimension.state()
    labels = yield from table.state()
    log = outflow.log
    return Snapshot(
        labels,
        qoe,
        own,
        tuple(exporters),
        meter,
        dimensions,
        ingest.governor.faults,
        ingest.labeller.state(),
        {} if log is None else dict(log.adjusted),
        ingest.duplicates.forgotten,
        {queue.destination.name: queue.state() for queue in outflow.queues},
        outflow.state(),
        flush_timer.state(),
        limits.state(),
        ingest.is_dirty,
        None if parts.exchange is None else parts.exchange.state(),
    )


def put_back(saved: Snapshot, parts: Components, limits: LimitNotifier, flush_timer: Timer) -> None:
    """Go on from a state, with parts that are new."""
    ingest, outflow = parts.ingest, parts.outflow
    table = LabelTable.restored(saved.labels)
    ingest.registry.restore(saved.qoe, table, _METRICS)
    parts.health.restore(saved.health, table, _METRICS)
    for exporter, state in zip(outflow.exporters, saved.exporters, strict=True):
        exporter.restore(state, table, _METRICS)
    ingest.meter.restore(saved.meter, table)
    for name, dimension in ingest.governor.dimensions.items():
        if name in saved.dimensions:
            dimension.restore(saved.dimensions[name])
    ingest.governor.faults = saved.governance_faults
    ingest.labeller.restore(saved.labeller)
    if outflow.log is not None:
        outflow.log.adjusted.update(saved.logs_adjusted)
    ingest.duplicates.forgotten = saved.batches_forgotten
    outflow.restore(saved.outflow, saved.queues)
    flush_timer.restore(saved.flushed_at)
    if parts.exchange is not None:
        parts.exchange.restore(saved.sharing or CoordinatorState())
    limits.restore(saved.noticed)
    ingest.is_dirty = saved.is_dirty
