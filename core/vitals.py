"""What the worker tells of its insides: gauges for its health, and limits that it has reached."""

from openqoe.core.effects import Notice
from openqoe.core.metrics.health import Vitals
from openqoe.core.parts import Parts


def collect(parts: Parts, started_at: int | None, now: int) -> None:
    """Read for the health metrics what is kept elsewhere.

    Args:
        parts: The worker's parts.
        started_at: When its process began to run it (ms); None if none did.
        now: Current time in ms.
    """
    ingest = parts.ingest
    log = parts.outflow.log
    vitals = Vitals(
        started_at=started_at,
        series=ingest.registry.size,
        overflowed=ingest.registry.overflowed,
        views=len(ingest.meter.views),
        views_forgotten=ingest.meter.views.forgotten,
        cardinality=ingest.governor.cardinality(now),
        folded={name: d.folded for name, d in ingest.governor.dimensions.items()},
        governance_faults=ingest.governor.faults,
        labels_shortened=ingest.labels_shortened,
        logs_adjusted={} if log is None else log.adjusted,
        batches_forgotten=ingest.duplicates.forgotten,
        storage_ok=not parts.storage_failure,
    )
    if parts.exchange is not None:
        parts.health.collect_sharing(parts.exchange)
    parts.health.collect(vitals, parts.outflow.queues, now)


class Limits:
    """Says once that a limit was reached: from then on labels lose detail."""

    def __init__(self, parts: Parts) -> None:
        self._governor = parts.ingest.governor
        self._registry = parts.ingest.registry
        self._max_series = parts.config.max_series
        self._noticed: set[str] = set()
        self._asked = (-1, -1)

    def notices(self) -> list[Notice]:
        """What the operator has not been told yet."""
        asked = self._governor.asked, self._registry.overflowed
        if asked == self._asked:  # most requests bring no label that is new
            return []
        self._asked = asked
        notices = []
        for name, dimension in self._governor.dimensions.items():
            if dimension.folded and name not in self._noticed:
                self._noticed.add(name)
                most = dimension.limit.max_cardinality or 0
                fields = (("dimension", name), ("max_cardinality", most))
                notices.append(Notice("warning", "dimension is full", fields))
        if self._registry.overflowed and "series" not in self._noticed:
            self._noticed.add("series")
            limit = (("max_series", self._max_series),)
            notices.append(Notice("warning", "too many series", limit))
        return notices

    def state(self) -> list[str]:
        """Of what the operator has been told, for a snapshot."""
        return sorted(self._noticed)

    def restore(self, state: list[str]) -> None:
        """Take a state back."""
        self._noticed.update(state)
