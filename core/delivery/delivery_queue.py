"""The delivery queue of one destination: ordered, one request at a time, bounded.

Theory of operation. Only the head is ever sent. It stays the head until its answer has arrived
and ``verdict`` has decided the outcome:

    delivered, rejected, dropped   the head leaves, and is counted once
    split                          its parts replace it
    retried                        it stays, and is due again after a wait

So samples of one series arrive in order of time. The wait belongs to the destination, not to the
payload: a new head waits, too.

A head that fails repeatedly is divided, between streams if possible. A part that cannot be divided
is set aside, and the next payload is tried. If that one is delivered, the fault is in the part: it
is quarantined and retried slowly, while everything else flows. If nothing is delivered, the fault
is the destination's: the parts return to the front. So a destination that accepts nothing gets few
requests and loses nothing, and nothing else can block the queue.

The status 400 means that the valid part was stored, or that the whole request is wrong. A payload
of logs is therefore divided until its parts are delivered or hold one entry; one that is still
answered 400 after others were delivered is rejected. Parts that were stored before are no
duplicates: Loki stores equal entries once. Payloads of metrics are divided only if the destination
has not accepted a payload for some time.

Logs are redated when they are sent: entries that are too far behind those already sent get a
timestamp that Loki accepts.

The owner drives the queue: it ``offer``s flushed payloads, sends the ``next_request``, reports the
result with ``complete``, and calls again at ``next_poll``. At shutdown it continues until the queue
is empty or the deadline is over.

Bounds. A full queue of logs or of rows of views drops its oldest payloads, but never the one in
flight, whose outcome is unknown. Metrics are not dropped for lack of room: while a queue
``is_full``, its owner does not flush them, and the registry continues counting. If another
destination must not wait for that, the owner flushes nevertheless, and offers a full queue only
payloads that later flushes do not repeat (series that begin or end), and none once it
``is_overfull``, at twice its bound.

With an outbox, payloads have numbers. Beyond ``MAX_LOADED`` bytes, bodies stay in the outbox until
their payload is the head (``LoadPayload``), so an outage costs disk but no memory.
``pop_finished_numbers`` returns the payloads that the outbox may delete. A full queue then thins
its metrics, too: first the payloads that are not the newest of their minute, then the oldest, but
never one in which a series begins or ends. Totals stay right, since each sample is a total.

Between two payloads of a backlog the queue pauses for as long as the destination needed for the
first, so it uses at most half of the destination's capacity. After a crash, a new queue that is
offered the same payloads continues; the payload in flight is sent again, which is harmless (samples
are cumulative, and Loki stores equal log entries once).
"""

from collections import deque
from dataclasses import replace

from ..config.destinations import Destination
from ..effects import (
    Delivery,
    HttpResult,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    PayloadBody,
    PayloadKind,
    RemoteWrite,
    StorageFailure,
    StoreViews,
)
from .backoff import backoff
from .destination_notices import DestinationNotices
from .error_text import find_secrets, redacted_text
from .payload import BodySplitter, Payload, PayloadRedater, split_payload
from .queue_status import DeliveryCounters, DeliveryQueueState, DeliveryState, QueueStatus
from .verdict import DeliveryOutcome, Verdict, judge_answer

MAX_LOADED = 8 * 1024 * 1024
"""Maximum bytes of bodies in memory if there is an outbox."""

MAX_PAUSE = 1_000
"""Maximum ms between two payloads of a backlog."""

RELOAD = 1_000
"""ms until the outbox is asked again for a payload that it could not read."""

MINUTE = 60_000

ROUTE_STEP = 30_000
"""Minimum ms until a retry if the route, the credentials or the configuration are wrong."""

MAX_ATTEMPTS = 4
"""Failed attempts after which a head is divided or set aside."""

MAX_DIVISIONS = 12
"""Divisions without a delivery in between: all payloads fail, and dividing does not help."""

MAX_ASIDE = 3
"""Payloads set aside without a delivery in between."""

MAX_REJECTIONS = 3
"""Consecutive 400 for metrics, after which the destination may reject everything."""

QUARANTINE = 5 * MINUTE
"""ms between two attempts of a quarantined payload."""

MAX_BEHIND = 51 * MINUTE
"""ms by which an entry may be behind those sent before. Loki accepts an hour, and the newest entry
may be nine minutes ahead of us."""

REDATED_BEHIND = 30 * MINUTE
"""ms by which redated entries are behind, so that they stay acceptable for some time."""

MAX_ENTRY_AGE = 7 * 24 * 60 * MINUTE - 60 * MINUTE
"""Maximum age of an entry in ms. Loki rejects entries older than a week."""


_EFFECTS: dict[PayloadKind, type[Delivery]] = {
    "metrics": RemoteWrite,
    "logs": LokiPush,
    "views": StoreViews,
}


class DeliveryQueue:
    """The payloads that await delivery to one destination.

    Args:
        destination: The destination.
        kind: The kind of its payloads.
        max_bytes: Bound of the queue, in bytes of bodies.
        seed: Seed of the backoff's jitter; differs between workers.
        split: Divides the body of a payload that is too large.
        user_agent: The User-Agent header of the requests.
        max_age: Maximum age of a payload in ms, if there is an outbox, else None.
        redate: Gives entries before a time another timestamp; None for metrics.
        has_own_streams: Whether no other worker sends entries of the same streams.

    Attributes:
        counters: Counts of items and answers; read-only.
    """

    def __init__(
        self,
        destination: Destination,
        kind: PayloadKind,
        *,
        max_bytes: int,
        seed: int,
        split: BodySplitter,
        user_agent: str,
        max_age: int | None = None,
        redate: PayloadRedater | None = None,
        has_own_streams: bool = True,
    ) -> None:
        self.destination = destination
        self.kind = kind
        self.counters = DeliveryCounters()
        self._max_bytes = max_bytes
        self._seed = seed
        self._split = split
        self._headers = (*destination.headers, ("User-Agent", user_agent))
        self._secrets = find_secrets(destination.headers)
        self._notices = DestinationNotices(destination)
        self._waiting: deque[Payload] = deque()
        self._bytes = 0
        self._max_age = max_age
        self._loaded_bytes = 0
        self._finished_numbers: list[int] = []
        self._redate = redate
        self._has_own_streams = has_own_streams
        self._newest_sent = 0  # creation of the newest payload that was sent
        self._pieces: dict[int, int] = {}  # unfinished parts by number
        self._attempts = 0  # failed ones of the head
        self._divisions = 0  # since the latest delivery
        self._rejections = 0  # since the latest delivery
        self._aside: list[Payload] = []
        self._quarantine: deque[tuple[int, Payload]] = deque()  # when each is due
        self._on_trial = False  # the head comes from the quarantine
        self._sent_at = 0
        self._in_flight: int | None = None  # id of the effect that carries the head
        self._failures = 0
        self._is_draining = False
        # The head is due ``_wait`` ms after ``_since``. A due time would be out of reach if the
        # clock were set back; a duration never is.
        self._since = 0
        self._wait = 0
        self._least_wait = 0  # the part of it that the destination requested
        self._state: DeliveryState = "ok"
        self._last_error = ""
        self._last_success: int | None = None

    def offer(self, payload: Payload, now: int) -> tuple[Notice, ...]:
        """Adds a payload at the end."""
        if payload.kind != self.kind:
            raise ValueError(f"a queue of {self.kind} was offered {payload.kind}")
        self._adjust_to_clock(now)
        if payload.number and self._loaded_bytes + len(payload.body) > MAX_LOADED:
            payload = payload.without_body()
        self._waiting.append(payload)
        self._bytes += payload.size
        self._loaded_bytes += len(payload.body)
        self.counters.offered += payload.items
        return self._make_room(now)

    def decline(self, payload: Payload, now: int) -> tuple[Notice, ...]:
        """Drops a payload for which there is no room."""
        self.counters.offered += payload.items
        self._count_dropped(payload, "queue_full")
        return self._notices.report_overflow(now, items=payload.items, max_bytes=self._max_bytes)

    def next_request(self, effect_id: int, now: int) -> Delivery | LoadPayload | None:
        """The request to send now, if any, or the effect that loads its body.

        Args:
            effect_id: The request's id, if there is one; unique over all queues.
        """
        if self._in_flight is not None:
            return None
        if not self._waiting and self.is_empty:  # the common case
            return None
        self._adjust_to_clock(now)
        if now < self._since + self._wait:
            return None
        self._drop_aged(now)
        if not self._on_trial and self._quarantine and self._quarantine[0][0] <= now:
            self._waiting.appendleft(self._quarantine.popleft()[1])
            self._on_trial, self._attempts = True, 0
        if not self._waiting:
            self._restore_aside()
        if not self._waiting:
            return None
        self._in_flight = effect_id
        if self._waiting[0].unloaded_size:
            return LoadPayload(effect_id, self._waiting[0].number)
        head = self._redate_head(now)
        self._sent_at = now
        self.counters.bytes_out += len(head.body)
        return _EFFECTS[self.kind](
            id=effect_id,
            destination=self.destination.name,
            url=self.destination.url,
            headers=head.headers + self._headers,
            body=head.body,
            is_embedded=self.destination.is_embedded,
        )

    def complete(
        self,
        effect_id: int,
        result: HttpResult | NetworkFailure | PayloadBody | StorageFailure,
        now: int,
    ) -> tuple[Notice, ...]:
        """Processes the result of a request; ignores one that is not in flight."""
        if effect_id != self._in_flight:
            return ()  # repeated, or from before a restart
        self._in_flight = None
        if isinstance(result, PayloadBody | StorageFailure):
            self._load_head(result, now)
            return ()
        verdict = self._examine_rejection(judge_answer(self.kind, result, now))
        parts: tuple[Payload, ...] = ()
        if verdict.outcome == "split" or self._is_division_due(verdict):
            parts = split_payload(self._waiting[0], self._split)
            if not parts and verdict.outcome == "split":
                is_too_large = verdict.reason == "too_large"
                outcome: DeliveryOutcome = "dropped" if is_too_large else "retried"
                verdict = replace(verdict, outcome=outcome, concerns_route=not is_too_large)
        self.counters.answers[verdict.outcome] += 1
        error_text = redacted_text(result, self._secrets)
        if verdict.outcome not in ("delivered", "split"):
            self._last_error = f"{verdict.status or verdict.reason}: {error_text}"
        if verdict.outcome == "retried":
            notices = self._retry(verdict, error_text, now)
            if parts:
                self._replace_head(parts)
                return notices + self._make_room(now)
            self._step_aside(verdict, now)
            return notices
        if verdict.outcome == "split":
            self._wait_from(now, 0)
            self._replace_head(parts)
            return self._make_room(now)  # the parts compress less well than the whole
        self._failures = self._attempts = 0
        pause = 0 if self._max_age is None or self._is_draining else now - self._sent_at
        self._wait_from(now, min(max(0, pause), MAX_PAUSE))
        head = self._remove(0)
        self._on_trial = False
        self._mark_finished(head)
        if verdict.outcome == "delivered":
            self._divisions = self._rejections = 0
            # Their faults are their own: each gets one attempt at once, then slow ones.
            self._quarantine.extendleft((now, one) for one in reversed(self._aside))
            self._aside = []
        elif not self._waiting:
            self._restore_aside()
        return self._finish(head, verdict, error_text, now)

    def pop_finished_numbers(self) -> tuple[int, ...]:
        """The numbers of the payloads that were finished since the last call."""
        if not self._finished_numbers:
            return ()
        finished, self._finished_numbers = tuple(self._finished_numbers), []
        return finished

    def begin_drain(self) -> None:
        """Shortens waits for the shutdown, to the minimum or as long as the destination asks."""
        self._is_draining = True
        self._wait = self._least_wait

    @property
    def next_poll(self) -> int | None:
        """When ``next_request`` is due; None without payloads or with one in flight."""
        if self._in_flight is not None:
            return None
        if self._waiting or self._aside:
            return self._since + self._wait
        if self._quarantine:
            return max(self._since + self._wait, self._quarantine[0][0])
        return None

    @property
    def is_empty(self) -> bool:
        """Whether there are no payloads, not even one in flight."""
        return not self._waiting and not self._quarantine and not self._aside

    @property
    def is_full(self) -> bool:
        """Whether the bound is reached, so that metrics should stay in the registry."""
        return self._bytes >= self._max_bytes

    @property
    def is_overfull(self) -> bool:
        """Whether twice the bound is reached, so that no payload should be offered."""
        return self._bytes >= 2 * self._max_bytes

    @property
    def waiting(self) -> tuple[Payload, ...]:
        """All payloads in order, including the one in flight, then those in quarantine."""
        return (*self._aside, *self._waiting, *(payload for _, payload in self._quarantine))

    def capture_state(self) -> DeliveryQueueState:
        """Captures the counters for a snapshot."""
        counters = self.counters
        return DeliveryQueueState(
            counters.delivered,
            counters.rejected,
            dict(counters.dropped),
            dict(counters.answers),
            counters.bytes_out,
            self._state,
            self._failures,
            self._last_success,
            self._last_error,
        )

    def restore_state(self, state: DeliveryQueueState) -> None:
        """Restores captured counters, before any payload is offered."""
        counters = self.counters
        counters.offered = state.delivered + state.rejected + sum(state.dropped.values())
        counters.delivered, counters.rejected = state.delivered, state.rejected
        counters.dropped.update(state.dropped)
        counters.answers.update(state.answers)
        counters.bytes_out = state.bytes_out
        self._state, self._failures = state.state, state.failures
        self._last_success, self._last_error = state.last_success, state.last_error

    def status(self, now: int) -> QueueStatus:
        """Reports the status of the queue."""
        every = self.waiting
        oldest = min((payload.created for payload in every), default=now)
        return QueueStatus(
            destination=self.destination.name,
            state=self._state,
            payloads=len(every),
            items=sum(payload.items for payload in every),
            bytes=self._bytes,
            oldest_age=max(0, now - oldest) if every else None,
            failures=self._failures,
            last_error=self._last_error,
            last_success=self._last_success,
            next_attempt=self.next_poll,
        )

    def _retry(self, verdict: Verdict, error_text: str, now: int) -> tuple[Notice, ...]:
        self._state = "failing"
        self._failures += 1
        wait = backoff(
            1 if self._is_draining else self._failures,
            seed=self._seed,
            destination=self.destination.name,
            counter=self.counters.answers["retried"],
        )
        steps_aside = verdict.reason == "bad_request" and (
            self._on_trial or (len(self._aside) < MAX_ASIDE and len(self._waiting) > 1)
        )
        if verdict.concerns_route and not self._is_draining and not steps_aside:
            wait = max(wait, ROUTE_STEP) * (5 if self._failures > 4 else 1)
        if verdict.status is not None:
            self._attempts += 1
        self._wait_from(now, wait, least=verdict.retry_after or 0)
        if steps_aside:  # the next payload shows whose fault it is
            return ()
        return self._notices.report_retry(
            verdict, error_text, now, wait=self._wait, payloads=len(self._waiting)
        )

    def _examine_rejection(self, verdict: Verdict) -> Verdict:
        """Decides whether a 400 concerns the payload or the whole request."""
        if verdict.reason != "bad_request" or self._on_trial:
            return verdict
        self._rejections += 1
        is_accepting = self._last_success is not None and self._rejections < MAX_REJECTIONS
        if is_accepting and self.kind == "metrics":
            return verdict
        if self._divisions < MAX_DIVISIONS and self._waiting[0].items > 1:
            return replace(verdict, outcome="split")
        return replace(verdict, outcome="retried", concerns_route=True)

    def _is_division_due(self, verdict: Verdict) -> bool:
        """Whether an attempt that must be repeated should be made with less."""
        return (
            verdict.outcome == "retried"
            and verdict.status is not None
            and not verdict.concerns_route
            and self._attempts + 1 >= (1 if self._on_trial else MAX_ATTEMPTS)
            and self._divisions < MAX_DIVISIONS
        )

    def _replace_head(self, parts: tuple[Payload, ...]) -> None:
        head = self._remove(0)
        self._on_trial, self._attempts = False, 0
        self._divisions += 1
        if head.number:
            self._pieces[head.number] = self._pieces.get(head.number, 1) - 1 + len(parts)
        self._waiting.extendleft(reversed(parts))
        self._bytes += sum(part.size for part in parts)
        self._loaded_bytes += sum(part.size for part in parts)

    def _step_aside(self, verdict: Verdict, now: int) -> None:
        """Lets the next payload try if the head has failed too often."""
        is_rejected = verdict.reason == "bad_request"
        if verdict.status is None or (verdict.concerns_route and not is_rejected):
            return
        if self._on_trial:
            self._quarantine.append((now + QUARANTINE, self._waiting.popleft()))
            self._on_trial = False
        elif self.kind != "metrics" or is_rejected:
            if not is_rejected and self._attempts < MAX_ATTEMPTS:
                return
            if len(self._aside) >= MAX_ASIDE or len(self._waiting) < 2:
                self._restore_aside()
            else:
                self._aside.append(self._waiting.popleft())
        self._attempts = 0

    def _restore_aside(self) -> None:
        """Returns payloads to the front in order: they are not the only ones that fail."""
        self._waiting.extendleft(reversed(self._aside))
        self._aside = []

    def _redate_head(self, now: int) -> Payload:
        """Redates entries of the head that the destination would reject as too old."""
        head = self._waiting[0]
        if self._redate is None or self.destination.is_embedded:
            return head
        newest = self._newest_sent if self._has_own_streams else now
        self._newest_sent = max(self._newest_sent, head.created)
        earliest = now - MAX_ENTRY_AGE
        if head.created + MINUTE < newest:
            earliest = max(earliest, newest - MAX_BEHIND)
        if head.created - MAX_BEHIND >= earliest:
            return head
        redated = self._redate(head, earliest, max(newest, now - MAX_ENTRY_AGE) - REDATED_BEHIND)
        self._bytes += redated.size - head.size
        self._loaded_bytes += redated.size - head.size
        self._waiting[0] = redated
        return redated

    def _finish(
        self, payload: Payload, verdict: Verdict, error_text: str, now: int
    ) -> tuple[Notice, ...]:
        """Counts a payload that leaves the queue."""
        if verdict.outcome == "dropped":
            self._state = "refusing"
            self._count_dropped(payload, verdict.reason)
            return self._notices.report_refusal(verdict, error_text, now, items=payload.items)
        whole = verdict.outcome == "delivered"
        back = self._notices.report_accepted(now, whole=whole, payloads=len(self._waiting))
        if not whole:
            self._state = "refusing"
            self.counters.rejected += payload.items
            return back + self._notices.report_refusal(
                verdict, error_text, now, items=payload.items
            )
        self._state = "ok"
        self._last_error = ""
        self._last_success = now
        self.counters.delivered += payload.items
        return back

    def _make_room(self, now: int) -> tuple[Notice, ...]:
        """Drops payloads beyond the bound, except the last one."""
        if self._bytes <= self._max_bytes:
            return ()
        items = 0
        if self.kind != "metrics":
            while self._bytes > self._max_bytes and self._quarantine:
                items += self._give_up(self._quarantine.popleft()[1], "queue_full")
            while self._bytes > self._max_bytes and self._aside:
                items += self._give_up(self._aside.pop(0), "queue_full")
            oldest = 0 if self._in_flight is None else 1
            while self._bytes > self._max_bytes and len(self._waiting) > 1:
                items += self._drop(oldest, "queue_full")
        elif self._max_age is not None:
            items = self._thin()
        return self._notices.report_overflow(now, items=items, max_bytes=self._max_bytes)

    def _thin(self) -> int:
        """Drops payloads of metrics; returns the number of their samples."""
        # Frees a tenth, or every following flush would examine the whole queue.
        enough = self._max_bytes * 9 // 10
        items = 0
        in_flight = self._waiting[0] if self._in_flight is not None else None
        for reason in ("thinned", "queue_full"):
            kept: deque[Payload] = deque()
            newest = {p.created // MINUTE: p.created for p in self._waiting}
            for payload in self._waiting:
                spared = payload is in_flight or not payload.thinnable or self._bytes <= enough
                if spared or (
                    reason == "thinned" and payload.created == newest[payload.created // MINUTE]
                ):
                    kept.append(payload)
                    continue
                self._bytes -= payload.size
                self._loaded_bytes -= len(payload.body)
                self._mark_finished(payload)
                self._count_dropped(payload, reason)
                items += payload.items
            self._waiting = kept
        return items

    def _drop_aged(self, now: int) -> None:
        """Drops payloads that are too old for any receiver."""
        if self._max_age is not None:
            while self._waiting and now - self._waiting[0].created > self._max_age:
                self._drop(0, "too_old")
            while self._quarantine and now - self._quarantine[0][1].created > self._max_age:
                self._give_up(self._quarantine.popleft()[1], "too_old")

    def _load_head(self, result: PayloadBody | StorageFailure, now: int) -> None:
        """Sets the loaded body of the head."""
        if isinstance(result, StorageFailure):
            self._wait_from(now, RELOAD)
        elif result.body is None:
            self._drop(0, "damaged")
        else:
            self._waiting[0] = self._waiting[0].with_body(result.body)
            self._loaded_bytes += len(result.body)

    def _drop(self, position: int, reason: str) -> int:
        return self._give_up(self._waiting[position], reason, position)

    def _give_up(self, payload: Payload, reason: str, position: int | None = None) -> int:
        """Drops a payload that is at a position of the queue, or was removed from elsewhere."""
        if position is None:
            self._bytes -= payload.size
            self._loaded_bytes -= len(payload.body)
        else:
            self._remove(position)
            if position == 0:
                self._on_trial = False
        self._mark_finished(payload)
        self._count_dropped(payload, reason)
        return payload.items

    def _remove(self, position: int) -> Payload:
        payload = self._waiting[position]
        del self._waiting[position]
        self._bytes -= payload.size
        self._loaded_bytes -= len(payload.body)
        return payload

    def _mark_finished(self, payload: Payload) -> None:
        if not payload.number:
            return
        pieces = self._pieces.pop(payload.number, 1) - 1
        if pieces:
            self._pieces[payload.number] = pieces
        else:
            self._finished_numbers.append(payload.number)

    def _count_dropped(self, payload: Payload, reason: str) -> None:
        dropped = self.counters.dropped
        dropped[reason] = dropped.get(reason, 0) + payload.items

    def _wait_from(self, now: int, wait: int, *, least: int = 0) -> None:
        self._since, self._wait, self._least_wait = now, max(wait, least), least

    def _adjust_to_clock(self, now: int) -> None:
        """Restarts the wait if the clock was set back: a longer wait, but one that ends."""
        self._since = min(self._since, now)
        if self._quarantine and self._quarantine[0][0] > now + QUARANTINE:
            self._quarantine = deque((now + QUARANTINE, one) for _, one in self._quarantine)
