"""The delivery queue of one destination: ordered, one request at a time, bounded.

Theory of operation. Only the head is ever sent. It stays the head until its answer has arrived
and ``verdict`` has decided the outcome:

    delivered, rejected, dropped   the head leaves, and is counted once
    split                          its parts replace it
    retried                        it stays, and is due again after a wait

So samples of one series arrive in order of time. The wait belongs to the destination, not to the
payload: a new head waits, too.

A head that fails repeatedly is divided or set aside (``quarantine.py``), so that it blocks nothing
else. Logs are redated when they are sent (``log_redating.py``).

The owner drives the queue: it ``offer``s flushed payloads, sends the ``next_request``, reports the
result with ``complete``, and calls again at ``next_poll``. At shutdown it continues until the queue
is empty or the deadline is over.

Bounds. A full queue of logs or of rows of views drops its oldest payloads, but never the one in
flight, whose outcome is unknown. One of batches for another worker drops none: while it
``is_full``, the worker accepts no more for it. Metrics are not dropped for lack of room: while a
queue ``is_full``, its owner does not flush them, and the registry continues counting. If another
destination must not wait for that, the owner flushes nevertheless, and offers a full queue only
payloads that later flushes do not repeat (series that begin or end), and none once it
``is_overfull``, at twice its bound.

With an outbox, bodies may be on disk only; that of the head is loaded before it is sent
(``LoadPayload``). A full queue then thins its metrics, too (``payload_buffer.py``), but never a
payload in which a series begins or ends. Totals stay right, since each sample is a total.

After a failure there is a backlog, until the queue is empty. Between two of its payloads the queue
pauses for as long as the destination needed for the first, so it uses at most half of the
destination's capacity. Live traffic is sent without pauses. After a crash, a new queue that is
offered the same payloads continues; the payload in flight is sent again, which is harmless (samples
are cumulative, and Loki stores equal log entries once).
"""

from collections.abc import Container
from dataclasses import replace
from itertools import chain

from ..config.destinations import Destination
from ..effects import (
    Delivery,
    DeliveryResult,
    LoadPayload,
    Notice,
    PayloadBody,
    PayloadKind,
    StorageFailure,
)
from ..wire.loki_push import StreamSeparator
from .backoff import backoff
from .byte_pool import BytePool
from .delivery_rules import RULES, build_request
from .destination_notices import DestinationNotices
from .error_text import find_secrets, redacted_text
from .log_redating import LateEntryRedater
from .payload import BodySplitter, Payload
from .payload_buffer import MINUTE, PayloadBuffer
from .quarantine import MAX_ATTEMPTS, Quarantine
from .queue_status import DeliveryCounters, DeliveryQueueState, DeliveryState, QueueStatus
from .verdict import DeliveryOutcome, Verdict, judge_answer

MAX_PAUSE = 1_000
"""Maximum ms between two payloads of a backlog."""

RELOAD = 1_000
"""ms until the outbox is asked again for a payload that it could not read."""

ROUTE_STEP = 30_000
"""Minimum ms until a retry if the route, the credentials or the configuration are wrong."""


class DeliveryQueue:
    """The payloads that await delivery to one destination.

    Args:
        destination: The destination.
        kind: The kind of its payloads.
        pool: Bounds the bytes of bodies, of this queue and of those that share the pool.
        loaded_pool: Bounds the bytes of bodies in memory if there is an outbox.
        seed: Seed of the backoff's jitter; differs between workers.
        split: Divides the body of a payload that is too large.
        max_age: Maximum age of a payload in ms, if there is an outbox, else None.
        redater: Redates log entries that the destination would reject as too old; None if it
            rejects none.
        separator: Divides bodies between streams, of which a destination may refuse some; None if
            there are none.

    Attributes:
        counters: Counts of items and answers; read-only.
    """

    def __init__(
        self,
        destination: Destination,
        kind: PayloadKind,
        *,
        pool: BytePool,
        loaded_pool: BytePool,
        seed: int,
        split: BodySplitter,
        max_age: int | None = None,
        redater: LateEntryRedater | None = None,
        separator: StreamSeparator | None = None,
    ) -> None:
        self.destination = destination
        self.kind = kind
        self.counters = DeliveryCounters()
        self._rules = RULES[kind]
        self._buffer = PayloadBuffer(pool, loaded_pool)
        self._quarantine = Quarantine(self._rules, self._buffer, separator)
        self._seed = seed
        self._split = split
        self._secrets = find_secrets(destination.headers)
        self._notices = DestinationNotices(destination)
        self._max_age = max_age
        self._redater = redater
        self._sent_at = 0
        self._drains_backlog = False  # since a failure, until the queue is empty
        self._longest_delay: int | None = None  # from a flush to a delivery, ms
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

    def offer(self, payload: Payload, now: int, *, is_stored: bool = True) -> tuple[Notice, ...]:
        """Adds a payload at the end.

        Args:
            payload: The payload.
            now: Current time in ms.
            is_stored: Whether the outbox has its body, if it has a number; else see ``unload``.
        """
        if payload.kind != self.kind:
            raise ValueError(f"a queue of {self.kind} was offered {payload.kind}")
        self._adjust_to_clock(now)
        if self._max_age is not None and now - payload.created > MINUTE:
            self._drains_backlog = True  # of an earlier process
        self._buffer.append(payload, is_stored=is_stored)
        self.counters.offered += payload.items
        return self._make_room(now)

    def decline(self, payload: Payload, now: int) -> tuple[Notice, ...]:
        """Drops a payload for which there is no room."""
        self.counters.offered += payload.items
        self._count_dropped(payload, "queue_full")
        return self._notices.report_overflow(
            now, items=payload.items, max_bytes=self._buffer.max_bytes
        )

    def unload(self, unstored: Container[int]) -> None:
        """Drops bodies that the outbox has, if there are too many in memory."""
        self._buffer.unload(unstored)

    def next_request(self, effect_id: int, now: int) -> Delivery | LoadPayload | None:
        """The request to send now, if any, or the effect that loads its body.

        Args:
            effect_id: The request's id, if there is one; unique over all queues.
        """
        if self._in_flight is not None or self.is_empty:  # the common case
            return None
        self._adjust_to_clock(now)
        if now < self._since + self._wait:
            return None
        self._drop_aged(now)
        is_changed = True
        while is_changed:
            self._quarantine.choose_head(now)
            if not self._buffer:
                return None
            head = self._buffer.head
            if head.unloaded_size:
                self._in_flight = effect_id
                return LoadPayload(effect_id, head.number)
            is_changed = self._quarantine.separate_head()
        self._in_flight = effect_id
        if self._redater is not None:
            head = self._redater.redate_late_entries(head, now)
            self._buffer.replace_head(head)
        self._sent_at = now
        self.counters.bytes_out += len(head.body)
        return build_request(self.destination, head, effect_id)

    def complete(self, effect_id: int, result: DeliveryResult, now: int) -> tuple[Notice, ...]:
        """Processes the result of a request; ignores one that is not in flight."""
        if effect_id != self._in_flight:
            return ()  # repeated, or from before a restart
        self._in_flight = None
        if isinstance(result, PayloadBody | StorageFailure):
            self._load_head(result, now)
            return ()
        verdict = self._quarantine.examine(
            judge_answer(self.kind, result, now), is_accepting=self._last_success is not None
        )
        parts: tuple[Payload, ...] = ()
        if verdict.outcome == "split" or self._quarantine.is_division_due(verdict):
            parts = self._quarantine.split_head(self._split, verdict)
            if not parts and verdict.outcome == "split":
                is_too_large = verdict.reason == "too_large"
                outcome: DeliveryOutcome = "dropped" if is_too_large else "retried"
                verdict = replace(verdict, outcome=outcome, concerns_route=not is_too_large)
        if not parts and self._quarantine.must_give_up(verdict):
            verdict = replace(verdict, outcome="dropped")
        self.counters.answers[verdict.outcome] += 1
        error_text = redacted_text(result, self._secrets)
        if verdict.outcome not in ("delivered", "split"):
            self._last_error = f"{verdict.status or verdict.reason}: {error_text}"
        notices: tuple[Notice, ...] = ()
        if verdict.outcome == "retried":
            notices = self._retry(verdict, error_text, now, is_divided=bool(parts))
        elif verdict.outcome == "split":
            self._wait_from(now, 0)
        else:
            return self._finish_head(verdict, error_text, now)
        if parts:
            self._quarantine.divide_head(parts, now)
            notices += self._make_room(now)  # the parts compress less well than the whole
        return notices

    def pop_finished_numbers(self) -> tuple[int, ...]:
        """The numbers of the payloads that were finished since the last call."""
        return self._buffer.pop_finished_numbers()

    def retire(self) -> None:
        """Give up the queue's place in the pools. It must be empty."""
        self._buffer.retire()

    def begin_drain(self) -> None:
        """Shortens waits for the shutdown, to the minimum or as long as the destination asks."""
        self._is_draining = True
        self._wait = self._least_wait

    @property
    def next_poll(self) -> int | None:
        """When ``next_request`` is due; None without payloads or with one in flight."""
        if self._in_flight is not None:
            return None
        due = 0 if self._buffer else self._quarantine.next_due
        return None if due is None else max(self._since + self._wait, due)

    @property
    def is_drained(self) -> bool:
        """Whether a stopping process need not wait for the queue."""
        is_failing = self._is_draining and self._state == "failing"
        return self.is_empty or (is_failing and not self._rules.blocks_shutdown)

    @property
    def is_accepting(self) -> bool:
        """Whether the destination accepted the latest request."""
        return self._state == "ok"

    def head_age(self, now: int) -> int:
        """The age of the payload to send next, ms; 0 without one."""
        return max(0, now - self._buffer.head.created) if self._buffer else 0

    def pop_longest_delay(self) -> int | None:
        """The longest time from a flush to a delivery since the last call, ms; None without any."""
        delay, self._longest_delay = self._longest_delay, None
        return delay

    @property
    def is_empty(self) -> bool:
        """Whether there are no payloads, not even one in flight."""
        return not self._buffer and self._quarantine.is_empty

    @property
    def is_full(self) -> bool:
        """Whether the bound is reached, so that metrics should stay in the registry."""
        return self._buffer.bytes >= self._buffer.max_bytes

    @property
    def is_overfull(self) -> bool:
        """Whether twice the bound is reached, so that no payload should be offered."""
        return self._buffer.bytes >= 2 * self._buffer.max_bytes

    @property
    def waiting(self) -> tuple[Payload, ...]:
        """All payloads in order, including the one in flight, then those in quarantine."""
        return (*self._quarantine.aside, *self._buffer, *self._quarantine.quarantined)

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
            0 if self._redater is None else self._redater.newest_sent,
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
        if self._redater is not None:
            self._redater.newest_sent = state.newest_sent

    def status(self, now: int) -> QueueStatus:
        """Reports the status of the queue."""
        every = self.waiting
        oldest = min((payload.created for payload in every), default=now)
        return QueueStatus(
            destination=self.destination.name,
            state=self._state,
            payloads=len(every),
            items=sum(payload.items for payload in every),
            bytes=self._buffer.bytes,
            oldest_age=max(0, now - oldest) if every else None,
            failures=self._failures,
            last_error=self._last_error,
            last_success=self._last_success,
            next_attempt=self.next_poll,
        )

    def _retry(
        self, verdict: Verdict, error_text: str, now: int, *, is_divided: bool
    ) -> tuple[Notice, ...]:
        """Waits until the next attempt, with the same head or with another payload."""
        self._state = "failing"
        self._drains_backlog = self._max_age is not None
        is_trial = self._quarantine.is_trial
        self._failures += not is_trial
        payloads = len(self._buffer)
        has_left = not is_divided and self._quarantine.step_aside(verdict, now)
        # Parts and other payloads are tried soon: they may show whose fault it is. Their number
        # is limited.
        is_other = is_trial or (has_left and self._quarantine.evidence.divisions > 0)
        step = min(self._failures, MAX_ATTEMPTS) if is_divided else self._failures
        wait = backoff(
            1 if is_other or self._is_draining else step,
            seed=self._seed,
            destination=self.destination.name,
            counter=self.counters.answers["retried"],
        )
        if has_left or is_other:
            self._wait_from(now, wait, least=verdict.retry_after or 0)
            return ()
        if verdict.concerns_route and not self._is_draining:
            wait = max(wait, ROUTE_STEP) * (5 if self._failures > 4 else 1)
        wait = min(wait, self._rules.max_wait)
        self._wait_from(now, wait, least=verdict.retry_after or 0)
        if self._failures < self._rules.reported_failures:
            return ()
        return self._notices.report_retry(
            verdict, error_text, now, wait=self._wait, payloads=payloads
        )

    def _finish_head(self, verdict: Verdict, error_text: str, now: int) -> tuple[Notice, ...]:
        """Removes and counts the head: it was delivered, rejected or dropped."""
        self._failures = 0
        pause = now - self._sent_at if self._drains_backlog and not self._is_draining else 0
        self._wait_from(now, min(max(0, pause), MAX_PAUSE))
        head, was_trial = self._buffer.pop_head(), self._quarantine.is_trial
        is_delivered = verdict.outcome == "delivered"
        self._quarantine.note_finished(head, now, is_delivered=is_delivered)
        if not was_trial:  # else the delay is the fault of the payload
            self._longest_delay = max(self._longest_delay or 0, now - head.created)
        self._drains_backlog &= not self.is_empty
        if verdict.outcome == "dropped":
            self._state = "refusing"
            self._count_dropped(head, verdict.reason)
            return self._notices.report_refusal(verdict, error_text, now, items=head.items)
        notices = self._notices.report_accepted(now, whole=is_delivered, payloads=len(self._buffer))
        if not is_delivered:
            self._state = "refusing"
            self.counters.rejected += head.items
            return notices + self._notices.report_refusal(
                verdict, error_text, now, items=head.items
            )
        self._state = "ok"
        self._last_error = ""
        self._last_success = now
        self.counters.delivered += head.items
        return notices

    def _make_room(self, now: int) -> tuple[Notice, ...]:
        """Drops payloads beyond the bound, except the last one."""
        buffer = self._buffer
        if buffer.bytes <= buffer.max_bytes and not self._quarantine.is_overfull:
            return ()
        items = 0
        head, is_sent = buffer.head, self._in_flight is not None
        if self._rules.when_full == "drop":
            oldest = chain(self._quarantine.drop_oldest(), buffer.drop_oldest(spare_head=is_sent))
            items = sum(self._count_dropped(payload, "queue_full") for payload in oldest)
        elif self._rules.when_full == "thin" and self._max_age is not None:
            thinned = buffer.thin(spare_head=is_sent)
            items = sum(self._count_dropped(payload, reason) for payload, reason in thinned)
        if not buffer or buffer.head is not head:
            self._quarantine.begin_head()
        return self._notices.report_overflow(now, items=items, max_bytes=buffer.max_bytes)

    def _drop_aged(self, now: int) -> None:
        """Drops payloads that are too old for any receiver."""
        if self._max_age is None:
            return
        earliest = now - self._max_age
        for payload in self._buffer.pop_created_before(earliest):
            self._quarantine.begin_head()
            self._count_dropped(payload, "too_old")
        for payload in self._quarantine.pop_created_before(earliest):
            self._count_dropped(payload, "too_old")

    def _load_head(self, result: PayloadBody | StorageFailure, now: int) -> None:
        """Sets the loaded body of the head."""
        if isinstance(result, StorageFailure):
            self._wait_from(now, RELOAD)
        elif result.body is None:
            self._quarantine.begin_head()
            self._count_dropped(self._buffer.pop_head(), "damaged")
        else:
            self._buffer.replace_head(self._buffer.head.with_body(result.body))

    def _count_dropped(self, payload: Payload, reason: str) -> int:
        """Counts a payload that was released; returns the number of its items."""
        dropped = self.counters.dropped
        dropped[reason] = dropped.get(reason, 0) + payload.items
        return payload.items

    def _wait_from(self, now: int, wait: int, *, least: int = 0) -> None:
        self._since, self._wait, self._least_wait = now, max(wait, least), least

    def _adjust_to_clock(self, now: int) -> None:
        """Restarts the wait if the clock was set back: a longer wait, but one that ends."""
        self._since = min(self._since, now)
        self._quarantine.adjust_to_clock(now)
