"""Decides whose fault a failure is, the head's or the destination's, and isolates faulty payloads.

A head that fails repeatedly is divided, by stream if it is above a limit. A part that still fails
is set aside, and the next one is tried. If that one is delivered, the fault is in the part: it is
quarantined and retried slowly, while everything else flows. If nothing is delivered, the fault is
the destination's: the parts return to the front. So a destination that accepts nothing gets few
requests and loses nothing, and nothing else can block the queue.

Metrics and forwarded batches must arrive in order. Of metrics, only parts of one flush may overtake
each other, since they have no series in common; one that alone fails is dropped, since later
flushes repeat it. Batches are never set aside.

Of the streams that it refuses, Loki reports the last one of a request, and nothing if that is
accepted: entries of the others are lost without a sign. So entries of quarantined streams are never
sent together with others: when their payload becomes the head, they follow to the quarantine.

The status 400 means that the valid part was stored, or that the whole request is wrong. A payload
of logs is therefore divided until its parts are delivered or hold one entry; one that is still
answered 400 after others were delivered is rejected. Parts that were stored before are no
duplicates: Loki stores equal entries once. Payloads of metrics are divided, or set aside, only if
the destination has not accepted a payload for some time.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from ..wire.loki_push import StreamSeparator
from .delivery_rules import DeliveryRules
from .fault_evidence import FaultEvidence
from .payload import BodySplitter, Payload, split_payload
from .payload_buffer import PayloadBuffer
from .verdict import Verdict

MAX_ATTEMPTS = 4
"""Failed attempts after which a head is divided or set aside. A part that is above a limit has one:
a limit of the whole destination would have let it pass."""

MAX_ASIDE = 3
"""Payloads set aside that were not divided."""

MAX_TESTS = 100
"""Parts set aside one by one without a delivery in between."""

QUARANTINE = 5 * 60_000
"""ms between two rounds of attempts with quarantined payloads."""

MAX_TRIALS = 10
"""Failed attempts of a round."""


class Quarantine:
    """The failures of one queue's head, and the payloads that were taken out of the queue.

    Attributes:
        is_trial: Whether the head comes from the quarantine.
        evidence: What shows whose fault a failure is.
    """

    def __init__(
        self, rules: DeliveryRules, buffer: PayloadBuffer, separator: StreamSeparator | None
    ) -> None:
        """
        Args:
            rules: The rules of the payloads' kind.
            buffer: The payloads of the queue.
            separator: Divides their bodies between streams; None if they have none.
        """
        self.is_trial = False
        self._rules = rules
        self._buffer = buffer
        self._separator = separator
        self._aside: list[_Isolated] = []  # failed, and their fault is undecided; in order
        self._quarantined: deque[_Isolated] = deque()
        self._bytes = 0  # of the quarantined bodies, if the others are in an outbox
        self._due = 0  # when the next round of attempts begins
        self._failed_trials = 0  # in this round
        self._is_turn_of_others = False  # after a failed trial
        self._attempts = 0  # failed ones of the head
        self.evidence = FaultEvidence(rules.tolerated_rejections)

    @property
    def aside(self) -> Iterator[Payload]:
        """Payloads that failed and whose fault is undecided."""
        return (payload for payload, _ in self._aside)

    @property
    def quarantined(self) -> Iterator[Payload]:
        """The quarantined payloads."""
        return (payload for payload, _ in self._quarantined)

    @property
    def is_empty(self) -> bool:
        """Whether no payload is aside or quarantined."""
        return not self._aside and not self._quarantined

    @property
    def is_overfull(self) -> bool:
        """Whether quarantined bodies use too much memory: the outbox cannot load single parts."""
        return self._bytes > self._buffer.max_loaded

    @property
    def next_due(self) -> int | None:
        """When a payload should return to an empty queue; None if there is none."""
        if self._aside:
            return 0
        return self._due if self._quarantined else None

    def choose_head(self, now: int) -> None:
        """Moves a payload that is due to the front of the queue."""
        is_turn_of_others, self._is_turn_of_others = self._is_turn_of_others, False
        if self.is_trial:
            return
        if self._quarantined and self._due <= now and not (is_turn_of_others and self._buffer):
            payload, _ = self._take_quarantined()
            self._buffer.put_in_front([payload])
            self.begin_head()
            self.is_trial = True
        elif not self._buffer:
            self._restore_aside()

    def separate_head(self) -> bool:
        """Moves entries of streams that are aside or in quarantine there, out of the head.

        Returns:
            Whether the head has changed.
        """
        if self._separator is None or self.is_empty or self.is_trial:
            return False
        separator, head = self._separator, self._buffer.head
        quarantined = _union(self._quarantined)
        suspects = quarantined
        if all(payload.created != head.created for payload in self.aside):
            suspects = suspects | _union(self._aside)
        found = separator.list_streams(head.body)
        if found.isdisjoint(suspects):
            return False
        if found <= suspects and not found <= quarantined:
            self._restore_aside()  # it would not show whose fault it is
            return True
        others: tuple[Payload, ...] = ()
        if not found <= suspects:
            parts = split_payload(head, lambda body: separator.separate_streams(body, suspects))
            if not parts:
                return False
            self._buffer.divide_head(parts)
            others = (self._buffer.take_head(),)
        isolated = self._isolate(self._buffer.take_head())
        if found & suspects <= quarantined:
            self._hold(isolated)
        else:
            self._aside.append(isolated)
        self._buffer.put_in_front(others)
        self.begin_head()
        return True

    def begin_head(self) -> None:
        """Forgets the failures of the previous head."""
        self.is_trial, self._attempts = False, 0

    def examine(self, verdict: Verdict, *, is_accepting: bool) -> Verdict:
        """Decides whether a 400 concerns the payload or the whole request.

        Args:
            verdict: The verdict on the head, by its status.
            is_accepting: Whether the destination has accepted a payload before.
        """
        if verdict.reason != "bad_request":
            return verdict
        is_tolerated = self.evidence.note_rejection()
        if is_accepting and not self.is_trial and is_tolerated:
            return verdict
        if self.evidence.may_divide and self._buffer.head.items > 1:
            return replace(verdict, outcome="split")
        if self._has_evidence:
            return verdict
        return replace(verdict, outcome="retried", concerns_route=True)

    def is_division_due(self, verdict: Verdict) -> bool:
        """Whether an attempt that must be repeated should be made with less."""
        return self._is_exhausted(verdict) and self.evidence.may_divide

    def split_head(self, split: BodySplitter, verdict: Verdict) -> tuple[Payload, ...]:
        """The parts of the head; () if it cannot be divided."""
        parts: tuple[Payload, ...] = ()
        if self._separator is not None and verdict.reason == "rate_limited":
            parts = split_payload(self._buffer.head, self._separator.split_streams)
        return parts or split_payload(self._buffer.head, split)

    def divide_head(self, parts: tuple[Payload, ...], now: int) -> None:
        """Replaces the head by its parts; those of a quarantined one return to the quarantine."""
        was_trial = self.is_trial
        self.evidence.note_division(self._buffer.head.created)
        self._buffer.divide_head(parts)
        self.begin_head()
        if was_trial:
            self._hold_first([self._isolate(self._buffer.take_head()) for _ in parts])
            self._note_failed_trial(now)

    def must_give_up(self, verdict: Verdict) -> bool:
        """Whether the head, which cannot be divided, fails alone and must not block others."""
        return (
            self._rules.is_repeated
            and self._is_exhausted(verdict)
            and self._attempts + 1 >= MAX_ATTEMPTS
            and self.evidence.is_part_accepted
            and self._has_evidence
        )

    def note_finished(self, head: Payload, now: int, *, is_delivered: bool) -> None:
        """Records that the head has left the queue after an answer."""
        was_trial = self.is_trial
        self.begin_head()
        if not is_delivered:
            if not self._buffer:
                self._restore_aside()
            return
        self.evidence.note_delivery(head.created)
        if self._aside or was_trial:
            # Their faults are their own: each gets one attempt at once, then slow ones.
            self._due, self._failed_trials = now, 0
        self._hold_first(self._aside)
        self._aside = []

    def step_aside(self, verdict: Verdict, now: int) -> bool:
        """Records a failed attempt of the head.

        Returns:
            Whether the head has left its place, so that the next payload shows whose fault it is.
        """
        is_rejected = verdict.reason == "bad_request"
        is_away = verdict.status is None or (verdict.concerns_route and not is_rejected)
        is_exhausted = is_rejected or self._is_exhausted(verdict)
        self._attempts += 1
        if self.is_trial and self._rules.is_repeated and self._attempts < MAX_ATTEMPTS:
            return False
        if self.is_trial:
            self._hold(self._isolate(self._buffer.take_head()))
            self.begin_head()
            self._note_failed_trial(now)
            return True
        self.evidence.is_accepting = False
        if is_away or not is_exhausted:
            return False
        may_overtake = not self._rules.is_ordered or (self._rules.is_repeated and self._has_sibling)
        if not is_rejected and not may_overtake:
            self._restore_aside()
            return False
        evidence = self.evidence
        is_part = evidence.is_part(self._buffer.head.created)
        self.begin_head()
        evidence.tests += is_part
        is_last = evidence.tests > MAX_TESTS if is_part else len(self._aside) >= MAX_ASIDE
        if is_last or len(self._buffer) < 2:
            self._restore_aside()
            return False
        has_sibling = self._has_sibling
        self._aside.append(self._isolate(self._buffer.take_head()))
        if evidence.tests == MAX_TESTS and has_sibling:
            self._skip_siblings()
        return True

    def drop_oldest(self) -> Iterator[Payload]:
        """Releases the payloads that wait longest, to make room."""
        while self._quarantined and (self.is_overfull or self._is_buffer_overfull):
            yield self._buffer.release(self._take_quarantined()[0])
        while self._aside and self._is_buffer_overfull:
            yield self._buffer.release(self._aside.pop(0)[0])

    def pop_created_before(self, time: int) -> Iterator[Payload]:
        """Releases the quarantined payloads that are older than a time (ms)."""
        for _ in range(len(self._quarantined)):
            isolated = self._take_quarantined()
            if isolated[0].created < time:
                yield self._buffer.release(isolated[0])
            else:
                self._hold(isolated)

    def adjust_to_clock(self, now: int) -> None:
        """Restarts waits if the clock was set back."""
        self._due = min(self._due, now + QUARANTINE)

    @property
    def _is_buffer_overfull(self) -> bool:
        return self._buffer.bytes > self._buffer.max_bytes

    @property
    def _has_sibling(self) -> bool:
        """Whether the payload after the head is of the same flush."""
        two = tuple(islice(self._buffer, 2))
        return len(two) == 2 and two[0].created == two[1].created

    @property
    def _has_evidence(self) -> bool:
        """Whether the destination has accepted others since the head, or its whole, failed."""
        is_accepted = self.evidence.has_accepted_part(self._buffer.head.created)
        return is_accepted or (self.is_trial and self.evidence.is_accepting)

    def _is_exhausted(self, verdict: Verdict) -> bool:
        """Whether the head has failed, this time included, as often as it may."""
        is_part = self.evidence.is_part(self._buffer.head.created)
        has_one = self.is_trial or (is_part and verdict.reason == "rate_limited")
        return (
            verdict.outcome == "retried"
            and verdict.status is not None
            and not verdict.concerns_route
            and self._attempts + 1 >= (1 if has_one else MAX_ATTEMPTS)
        )

    def _note_failed_trial(self, now: int) -> None:
        self._is_turn_of_others = not self._rules.is_ordered
        self._failed_trials += 1
        if self._failed_trials >= min(MAX_TRIALS, len(self._quarantined)):
            self._due, self._failed_trials = now + QUARANTINE, 0

    def _skip_siblings(self) -> None:
        """Sets aside the rest of a payload, so that another one is tried."""
        flush = self._aside[-1][0].created
        while len(self._buffer) > 1 and self._buffer.head.created == flush:
            self._aside.append(self._isolate(self._buffer.take_head()))

    def _isolate(self, payload: Payload) -> "_Isolated":
        if self._separator is None:
            return payload, frozenset()
        return payload, self._separator.list_streams(payload.body)

    def _hold(self, isolated: "_Isolated") -> None:
        self._quarantined.append(isolated)
        self._bytes += _outbox_bytes(isolated)

    def _hold_first(self, isolated: list["_Isolated"]) -> None:
        self._quarantined.extendleft(reversed(isolated))
        self._bytes += sum(map(_outbox_bytes, isolated))

    def _take_quarantined(self) -> "_Isolated":
        isolated = self._quarantined.popleft()
        self._bytes -= _outbox_bytes(isolated)
        return isolated

    def _restore_aside(self) -> None:
        """Returns payloads to the front in order: they are not the only ones that fail."""
        self._buffer.put_in_front(self.aside)
        self._aside = []


_Isolated = tuple[Payload, frozenset[str]]
"""A payload that was taken out of the queue, and its streams."""


def _union(isolated: Iterable[_Isolated]) -> frozenset[str]:
    return frozenset(chain.from_iterable(streams for _, streams in isolated))


def _outbox_bytes(isolated: _Isolated) -> int:
    """Bytes in memory of a payload whose whole is in the outbox."""
    return len(isolated[0].body) if isolated[0].number else 0
