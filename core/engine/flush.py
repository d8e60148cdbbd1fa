"""FlushScheduler: when they are made, and their work in parts.

Theory of operation. A flush takes series and views in parts (``primitives/incremental``), and all
must be of one moment. So what comes in meanwhile waits: batches in ``ingest``, answers of the
shared store here. The journal keeps the batches, so they are acknowledged. When the flush has
taken what it needs, what waits takes effect, oldest first, in parts as well.

A flush ends with writing everything down: the snapshot, after which the journal's records up to
it are of no more use. Only one is written at a time; a flush that falls due before the disk has
the last one is made behind it.
"""

from ..effects import KvFailure, KvResult
from ..primitives.incremental import Work, finish
from ..primitives.timer import Timer
from . import checkpoint
from . import health_report as vitals
from . import snapshot as snapshots
from .components import Components
from .health_report import LimitNotifier
from .ingest import EVENT

# What comes in meanwhile waits for the work under way: it must not come faster than that gets on.
# So each batch that has to wait does some of it, by the events that it brings. What is refused
# does none, because refusing must cost little.

OF_A_FLUSH = 2
"""Units of a flush that are done for an event. Few: clients wait for it, while the flush gets on
with what time they leave. Not none, or they might leave none."""

OF_WHAT_WAITS = EVENT + 1
"""Units of what waits behind a flush that are done for an event: what it brings, and some more,
so that it grows less however many come. Not much more: all that come meanwhile would take so much
longer that they might be more than can be answered."""


class FlushScheduler:
    """Makes the flushes of a worker.

    Args:
        parts: The worker's parts.
        limits: Part of the state that is written down.
        pace: Units of work that one call does at the most.

    Attributes:
        timer: Tells when the next is due.
        started_at: When the process began to run the worker (ms); None if none did.
        closed: Whether the worker has been closed: only what is left is flushed.
        last_waits: Whether a flush is to be made that may be the last.
        pressing: The time (ms) at which the work under way was due.
    """

    def __init__(self, parts: Components, limits: LimitNotifier, pace: int) -> None:
        self._parts = parts
        self._interval = parts.config.flush_interval
        self._ingest = parts.ingest
        self._outflow = parts.outflow
        self._persistence = parts.persistence
        self._exchange = parts.exchange
        self._limits = limits
        self._pace = pace
        self.timer = Timer(self._interval)
        self.started_at: int | None = None
        self.closed = False
        self.last_waits = False
        self.pressing = 0
        self._flushing: Work[None] | None = None
        self._brought = 0  # events that had come to wait before the request at hand
        self._late: list[tuple[int, KvResult | KvFailure]] = []  # wait for the end of a flush

    def begin(self, now: int) -> None:
        """The first call of any kind tells when the worker came to life (ms)."""
        self.timer.start(now)
        if now < self.pressing:  # the clock was put back
            self.pressing = now

    # When

    @property
    def is_wanted(self) -> bool:
        """Whether a flush may be made when its time comes."""
        if self.closed:  # what comes in late would only keep the queues from running empty
            return False
        if self.is_working or (self._persistence is not None and self._persistence.is_busy):
            return False
        return bool(self._interval or self._ingest.is_dirty)

    @property
    def is_working(self) -> bool:
        """Whether a flush is under way, or what has waited for it."""
        return self._flushing is not None or self._ingest.is_behind

    def poll(self, now: int) -> None:
        """Do what is due, as far as the pace allows."""
        if self.is_wanted and self.timer.is_due(now):
            self._flush(now)
        else:
            self._work(self._pace, now)
        if self.closed:
            self.catch_up(now)

    def came_in(self, now: int) -> None:
        """A request was handled: do what is due because of it."""
        brought = self._ingest.brought - self._brought
        if brought:
            self._brought += brought
            share = OF_WHAT_WAITS if self._flushing is None else OF_A_FLUSH
            self._work(min(brought * share, self._pace), now)
        if not self._interval and self._ingest.is_dirty:
            self.last_waits = True  # there may be no later
            self.catch_up(now)
        else:
            self._outflow.flush_many_logs(now)

    def catch_up(self, now: int) -> None:
        """Make a flush that could not be made when its time came."""
        if self.is_working or (self._persistence is not None and self._persistence.is_busy):
            return
        if self.last_waits:
            if self.closed and not self._may_end(now):
                return
            self.last_waits = False
            self._flush(now, last=True)
        elif self._outflow.may_catch_up:
            self._flush(now, last=self.closed)  # there may be no later: we may be ending

    def _may_end(self, now: int) -> bool:
        """Whether all has been counted that the shared store decides, or the time is over."""
        exchange = self._exchange
        if exchange is None:
            return True
        if self._ingest.first_left is None and exchange.is_counted:
            # What was counted last may wait for an explanation, which will not come any more.
            finish(exchange.lapse(now, all_of_them=True))
        if exchange.may_wait(now):
            return self._ingest.first_left is None and exchange.is_counted
        exchange.give_up(now)
        return True

    def close(self, now: int, left: int) -> None:
        """Make the last flush, as soon as it may be made.

        Args:
            now: Current time in ms.
            left: ms until the process has to have stopped.
        """
        self.closed = self.last_waits = True
        self.end(now)
        if self._exchange is not None:
            finish(self._exchange.lapse(now, all_of_them=True))
            self._exchange.end(now, left, keeps_rest=self._persistence is not None)
        self.catch_up(now)

    def persist_if_needed(self, now: int) -> None:
        """Write everything down between flushes, where the disk asks for it."""
        if self._persistence is None or not self._persistence.needs_persist(now):
            return
        if not self.is_working:
            # What was counted behind the last flush leaves the journal with this.
            self.last_waits |= self.closed and self._ingest.is_dirty
            self._begin_work(self._persist_work(now), now)

    # The shared store

    def share(self, effect_id: int, result: KvResult | KvFailure, now: int) -> None:
        """Take what the shared store has answered, but for the middle of a flush."""
        if self._ingest.holds:
            self._late.append((effect_id, result))
            return
        assert self._exchange is not None, "only a worker that shares has asked a store"
        self._exchange.complete(effect_id, result, now)
        if self._exchange.labels_void():
            self._ingest.renew_labels(now)
        self._outflow.flush_many_logs(now)
        if not self._interval and self._ingest.is_dirty:
            self.last_waits = True  # there may be no later

    # The work

    def snapshot(self) -> bytes:
        """The state as bytes. Ends a flush that is under way."""
        self.end(self.pressing)
        taken = finish(checkpoint.take(self._parts, self._limits, self.timer))
        return b"".join(finish(snapshots.encode(taken)))

    def _flush(self, now: int, *, last: bool = False) -> None:
        """Begin to send everything.

        Args:
            now: Current time in ms.
            last: Whether this may be the last flush, so that nothing can wait for an
                explanation by later events.
        """
        self._begin_work(self._flush_work(now, last=last), now)
        if last:
            self.end(now)

    def _flush_work(self, now: int, *, last: bool) -> Work[None]:
        self.timer.restart(now)
        self._ingest.is_dirty = False
        meter = self._ingest.meter
        if self._exchange is None:
            meter.resolve_pending(now, ignore_timeout=last)
            yield from meter.expire_views(now)
        elif not self.closed:
            yield from self._exchange.lapse(now, all_of_them=last)
        concurrent = yield from meter.views.count_concurrent(now)
        if self._exchange is not None:
            concurrent = self._exchange.concurrent(now, concurrent)
        yield from meter.set_concurrent(concurrent)
        yield from self._ingest.labeller.free_discarded()
        vitals.collect(self._parts, self.started_at, now)
        yield from self._outflow.flush(now)
        yield from self._persist_work(now)

    def _persist_work(self, now: int) -> Work[None]:
        """Write everything down."""
        if self._persistence is None:
            return
        self._outflow.flush_logs(now)  # a snapshot does not hold any
        taken = yield from checkpoint.take(self._parts, self._limits, self.timer)
        left = None if self._exchange is None else self._exchange.first_uncounted
        self._persistence.begin(self._ingest.first_left if left is None else left)
        self._release(now)
        snapshot = yield from snapshots.encode(taken)
        self._persistence.persist(self._parts.ids.take(), snapshot, now)

    def _begin_work(self, work: Work[None], now: int) -> None:
        self._flushing = work
        self.pressing = now
        self._ingest.hold()
        self._work(self._pace, now)

    def _work(self, units: int, now: int) -> None:
        """Go on with what is under way."""
        while self._flushing is not None and units > 0:
            try:
                units -= next(self._flushing)
            except StopIteration:
                self._flushing = None
                self._release(now)
            except BaseException:  # a fault of ours: it must not hold batches for ever
                self._flushing = None
                self._ingest.release()
                raise
        self._ingest.catch_up(units)

    def end(self, now: int) -> None:
        """Do all of what is under way."""
        while self.is_working:
            self._work(self._pace, now)

    def _release(self, now: int) -> None:
        """The flush has taken what it needs: what waits for it may take effect."""
        self._ingest.release()
        late, self._late = self._late, []
        for effect_id, result in late:
            self.share(effect_id, result, now)
