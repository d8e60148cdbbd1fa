"""Applies a batch: counts its events, writes log entries, and records it into series.

The steps, each in a module of its own:

    decode    core/events    bytes to typed events (again, if only the bytes were kept)
    labels    core/qoe       governed labels of each event, shared by the events of one player
    log       core/sinks     events to log entries
    record    core/qoe       events to series, through the state of their views
"""

from collections.abc import Iterable, Sequence

import msgspec

from ..cluster.forwarding import Forwarding
from ..config.worker_config import Config
from ..effects import Notice
from ..events.batch import Batch
from ..events.decoder import BatchDecoder, DecodedBatch
from ..events.event_types import Event
from ..events.faults import Fault
from ..events.view_sampling import is_view_kept
from ..governance.governor import Governor
from ..metrics import health_metrics
from ..metrics.health_metrics import Health
from ..metrics.registry import MAX_CACHE_BYTES, Registry
from ..qoe.event_context import EventContext
from ..qoe.labeller import Labeller
from ..qoe.recorder import Recorder
from ..qoe.view import NO_VIEW, view_key
from ..qoe.view_rows import ChangedViews
from ..qoe.view_table import ViewTable
from ..sinks.log_buffer import LogBuffer
from ..wire.loki_push import ENCODINGS
from .fault_notice import fault_notice


class BatchApplier:
    """Applies batches, one after the other.

    Attributes:
        decoder: Decodes the bytes of a batch.
        governor: Governs label values.
        registry: The series of the QoE metrics.
        labeller: Finds the labels of events.
        recorder: Records events into the registry, and knows the views.
        is_dirty: Whether events came in since the latest flush.
    """

    def __init__(
        self,
        config: Config,
        health: Health,
        log: LogBuffer | None,
        notices: list[Notice],
        *,
        instance: str,
        changed_views: ChangedViews | None = None,
        forwarding: Forwarding | None = None,
    ) -> None:
        self._health = health
        self._forwarding = forwarding
        self._log = log
        self._log_sample = config.log_sample
        self.decoder = BatchDecoder(config)
        self.governor = Governor(config.cardinality_limits)
        self.registry = Registry(config.max_series)
        with_metadata = log is not None and config.loki_structured_metadata
        encoding = ENCODINGS[config.loki_encoding]
        self.labeller = Labeller(
            self.governor,
            config.extra_labels,
            instance=instance,
            stream_labels=config.log_labels,
            encode_metadata=encoding.encode_metadata if with_metadata else None,
        )
        self.recorder = Recorder(
            self.registry,
            self.labeller,
            ViewTable(config.view_timeout, config.max_views, config.max_event_age),
            self.governor.govern,
            self._report_view_fault,
            changed_views,
        )
        self.is_dirty = False
        self._notices = notices

    def apply(self, batch: Batch, now: int | None = None) -> None:
        """Apply a batch with local knowledge only. A fault of ours is reported, not raised.

        Args:
            batch: The batch.
            now: Current time in ms, if it may be later than the arrival: it may come from another
                worker of the host, which has kept it while this one was away.
        """
        try:
            decoded = batch.decode(self.decoder)
            if self._forwarding is not None:
                decoded = self._forwarding.select_own(batch.record, decoded)
                if decoded.is_empty:  # as most batches that were forwarded
                    self.is_dirty = True
                    return
            events = self._begin(decoded, batch)
            self.recorder.record_events(events, batch.record.at, now)
        except Exception as error:
            self.report_fault(batch, error)

    def report_fault(self, batch: Batch, error: Exception) -> None:
        """Report that a fault of ours kept a batch from being applied completely.

        The batches behind it are applied all the same.
        """
        self._health.count(health_metrics.BATCHES_REJECTED, reason="fault")
        record = ("record", batch.record.number)
        self._notices.append(fault_notice("batch could not be applied", error, record))

    def _report_view_fault(self, error: Exception) -> None:
        notice = fault_notice("view could not be evaluated", error)
        if notice not in self._notices:  # the same fault may meet many views
            self._notices.append(notice)

    def begin_apply(self, batch: Batch, *, is_ours: bool) -> list[tuple[Event, EventContext]]:
        """Apply the part of a batch that does not belong to a view.

        Args:
            batch: The batch.
            is_ours: Whether no other worker had accepted it before.

        Returns:
            Its events with their contexts, by event time.
        """
        decoded = batch.decode(self.decoder)
        if not is_ours:
            self._health.count(health_metrics.DUPLICATES)
            return [(event, context) for event, _, context in self._by_time(decoded, batch)]
        events = self._begin(decoded, batch)
        without_view = (pair for pair in events if pair[1].view is None)
        self.recorder.record_events(without_view, batch.record.at)
        return events

    def record_unfollowed(self, events: Sequence[tuple[Event, EventContext]], at: int) -> None:
        """Record events of views with too many batches, without the state of their views."""
        self._health.count(health_metrics.UNFOLLOWED, len(events))
        without_view = [
            (event, msgspec.structs.replace(context, view=None)) for event, context in events
        ]
        self.recorder.record_events(without_view, at)

    def renew_labels(self, now: int) -> None:
        """Work out all labels again, because governance has changed its decisions."""
        self.labeller.reset_cache(now)
        self.registry.cached_bytes = 0

    def _begin(self, decoded: DecodedBatch, batch: Batch) -> list[tuple[Event, EventContext]]:
        at = batch.record.at
        self.count_events(decoded)
        if self.labeller.is_cache_stale(at) or self.registry.cached_bytes > MAX_CACHE_BYTES:
            self.renew_labels(at)
        events = self._by_time(decoded, batch)
        if self._log is not None:
            self._log.add_events(self._sampled(events), self.labeller, at)
        self.is_dirty = True
        return [(event, context) for event, _, context in events]

    def _sampled(
        self, events: list[tuple[Event, bytes, EventContext]]
    ) -> list[tuple[Event, bytes, EventContext]]:
        """Return the events that become log lines: those of the views in the sample."""
        fraction = self._log_sample
        if fraction >= 1:
            return events
        return [one for one in events if is_view_kept(one[0].view_id, fraction)]

    def _by_time(
        self, decoded: DecodedBatch, batch: Batch
    ) -> list[tuple[Event, bytes, EventContext]]:
        """Return the events, each with its log line and its context, by event time."""
        events = []
        contexts: dict[str, EventContext] = {}  # by view: a batch may hold the events of many
        for event, line in decoded.events:
            context = contexts.get(event.view_id)
            if context is None or not context.applies_to(event):
                context = contexts[event.view_id] = self._context(event, batch)
            events.append((event, line, context))
        # Players build events asynchronously and send them unsorted.
        events.sort(key=_time_of)
        return events

    def _context(self, event: Event, batch: Batch) -> EventContext:
        record = batch.record
        labels = self.labeller.find_label_set(event, record.country, record.at)
        return EventContext(
            event,
            labels,
            None if event.view_id == NO_VIEW else view_key(event),
            b"" if self._log is None else self._log.encode_metadata(event, labels),
        )

    def count_events(self, decoded: DecodedBatch) -> None:
        """Count accepted events, rejected ones by reason, and ignored fields."""
        if decoded.events:
            self._health.count(health_metrics.ACCEPTED, len(decoded.events))
        if decoded.clock_corrected:
            self._health.count(health_metrics.CLOCK_CORRECTED)
        if decoded.faults:
            self.count_faults(decoded.faults)
        for path in decoded.ignored_fields:
            self._health.count(health_metrics.IGNORED, field=path)

    def count_faults(self, faults: Iterable[Fault]) -> None:
        """Count rejected events by reason."""
        seen: set[int | None] = set()
        for fault in faults:
            if fault.index not in seen:  # an event may have several faults
                seen.add(fault.index)
                self._health.count(health_metrics.REJECTED, reason=fault.reason)


def _time_of(entry: tuple[Event, bytes, EventContext]) -> float:
    return entry[0].event_time
