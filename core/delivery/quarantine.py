"""Decides whose fault a failure is, the head's or the destination's, and isolates faulty payloads.

A head that fails repeatedly is divided, between streams if possible. A part that cannot be divided
is set aside, and the next payload is tried. If that one is delivered, the fault is in the part: it
is quarantined and retried slowly, while everything else flows. If nothing is delivered, the fault
is the destination's: the parts return to the front. So a destination that accepts nothing gets few
requests and loses nothing, and nothing else can block the queue. Metrics and forwarded batches are
not set aside, because they must arrive in order.

The status 400 means that the valid part was stored, or that the whole request is wrong. A payload
of logs is therefore divided until its parts are delivered or hold one entry; one that is still
answered 400 after others were delivered is rejected. Parts that were stored before are no
duplicates: Loki stores equal entries once. Payloads of metrics are divided, or set aside, only if
the destination has not accepted a payload for some time.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from .delivery_rules import DeliveryRules
from .payload import Payload
from .payload_buffer import PayloadBuffer
from .verdict import Verdict

MAX_ATTEMPTS = 4
"""Failed attempts after which a head is divided or set aside."""

MAX_DIVISIONS = 12
"""Divisions without a delivery in between: all payloads fail, and dividing does not help."""

MAX_ASIDE = 3
"""Payloads set aside without a delivery in between."""

QUARANTINE = 5 * 60_000
"""ms between two attempts of a quarantined payload."""


class Quarantine:
    """The failures of one queue's head, and the payloads that were taken out of the queue.

    Attributes:
        aside: Payloads that failed and whose fault is undecided, in order.
    """

    def __init__(self, rules: DeliveryRules, buffer: PayloadBuffer) -> None:
        """
        Args:
            rules: The rules of the payloads' kind.
            buffer: The payloads of the queue.
        """
        self.aside: list[Payload] = []
        self._rules = rules
        self._buffer = buffer
        self._quarantined: deque[tuple[int, Payload]] = deque()  # when each is due
        self._is_trial = False  # the head comes from the quarantine
        self._attempts = 0  # failed ones of the head
        self._divisions = 0  # since the latest delivery
        self._rejections = 0  # since the latest delivery

    @property
    def quarantined(self) -> Iterator[Payload]:
        """The quarantined payloads."""
        return (payload for _, payload in self._quarantined)

    @property
    def is_empty(self) -> bool:
        """Whether no payload is aside or quarantined."""
        return not self.aside and not self._quarantined

    @property
    def next_due(self) -> int | None:
        """When a payload should return to an empty queue; None if there is none."""
        if self.aside:
            return 0
        return self._quarantined[0][0] if self._quarantined else None

    def choose_head(self, now: int) -> None:
        """Moves a payload that is due to the front of the queue."""
        if not self._is_trial and self._quarantined and self._quarantined[0][0] <= now:
            self._buffer.put_in_front([self._quarantined.popleft()[1]])
            self.begin_head()
            self._is_trial = True
        elif not self._buffer:
            self._restore_aside()

    def begin_head(self) -> None:
        """Forgets the failures of the previous head."""
        self._is_trial, self._attempts = False, 0

    def examine(self, verdict: Verdict, *, is_accepting: bool) -> Verdict:
        """Decides whether a 400 concerns the payload or the whole request.

        Args:
            verdict: The verdict on the head, by its status.
            is_accepting: Whether the destination has accepted a payload before.
        """
        if verdict.reason != "bad_request" or self._is_trial:
            return verdict
        self._rejections += 1
        if is_accepting and self._rejections < self._rules.tolerated_rejections:
            return verdict
        if self._divisions < MAX_DIVISIONS and self._buffer.head.items > 1:
            return replace(verdict, outcome="split")
        return replace(verdict, outcome="retried", concerns_route=True)

    def is_division_due(self, verdict: Verdict) -> bool:
        """Whether an attempt that must be repeated should be made with less."""
        return (
            verdict.outcome == "retried"
            and verdict.status is not None
            and not verdict.concerns_route
            and self._attempts + 1 >= (1 if self._is_trial else MAX_ATTEMPTS)
            and self._divisions < MAX_DIVISIONS
        )

    def note_division(self) -> None:
        """Records that the head was replaced by its parts."""
        self._divisions += 1
        self.begin_head()

    def note_finished(self, now: int, *, is_delivered: bool) -> None:
        """Records that the head has left the queue after an answer."""
        self.begin_head()
        if is_delivered:
            self._divisions = self._rejections = 0
            # Their faults are their own: each gets one attempt at once, then slow ones.
            self._quarantined.extendleft((now, payload) for payload in reversed(self.aside))
            self.aside = []
        elif not self._buffer:
            self._restore_aside()

    def step_aside(self, verdict: Verdict, now: int) -> bool:
        """Records a failed attempt of the head.

        Returns:
            Whether the head has left its place, so that the next payload shows whose fault it is.
        """
        is_rejected = verdict.reason == "bad_request"
        if verdict.status is None or (verdict.concerns_route and not is_rejected):
            return False
        self._attempts += 1
        if self._is_trial:
            self._quarantined.append((now + QUARANTINE, self._buffer.take_head()))
            self.begin_head()
            return True
        if not is_rejected and (self._rules.is_ordered or self._attempts < MAX_ATTEMPTS):
            return False
        self.begin_head()
        if len(self.aside) >= MAX_ASIDE or len(self._buffer) < 2:
            self._restore_aside()
            return False
        self.aside.append(self._buffer.take_head())
        return True

    def drop_oldest(self) -> Iterator[Payload]:
        """Releases the payloads that wait longest, to make room."""
        while self._buffer.bytes > self._buffer.max_bytes and not self.is_empty:
            yield self._release(
                self._quarantined.popleft()[1] if self._quarantined else self.aside.pop(0)
            )

    def pop_created_before(self, time: int) -> Iterator[Payload]:
        """Releases the quarantined payloads that are older than a time (ms)."""
        while self._quarantined and self._quarantined[0][1].created < time:
            yield self._release(self._quarantined.popleft()[1])

    def _release(self, payload: Payload) -> Payload:
        self._buffer.release(payload)
        return payload

    def adjust_to_clock(self, now: int) -> None:
        """Restarts waits if the clock was set back."""
        if self._quarantined and self._quarantined[0][0] > now + QUARANTINE:
            self._quarantined = deque((now + QUARANTINE, payload) for payload in self.quarantined)

    def _restore_aside(self) -> None:
        """Returns payloads to the front in order: they are not the only ones that fail."""
        self._buffer.put_in_front(self.aside)
        self.aside = []
