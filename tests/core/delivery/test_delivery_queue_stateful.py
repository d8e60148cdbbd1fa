"""The delivery queue under any history: offers, answers, stale answers, a jumping clock."""

from collections.abc import Container

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openqoe.core.config.destinations import Destination
from openqoe.core.delivery.byte_pool import BytePool
from openqoe.core.delivery.delivery_queue import DeliveryQueue
from openqoe.core.delivery.payload import Payload
from openqoe.core.delivery.verdict import MAX_RETRY_AFTER
from openqoe.core.effects import (
    Delivery,
    HttpResult,
    LoadPayload,
    NetworkFailure,
    Notice,
    PayloadKind,
)

MAX_BYTES = 200
ITEM_BYTES = 10

statuses = st.sampled_from([204, 260, 301, 400, 401, 404, 413, 429, 500, 503, 529, 0])
results = st.one_of(
    st.just(HttpResult(204)),
    st.builds(
        HttpResult,
        statuses,
        st.sampled_from(["", "0", "7", "100000", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"]).map(
            lambda text: {"retry-after": text}
        ),
        st.binary(max_size=20),
    ),
    st.builds(NetworkFailure, st.text(max_size=20)),
)


def encode(kind: PayloadKind, items: list[int], now: int) -> Payload:
    """A payload whose body lists its items."""
    body = b"".join(b"%010d" % item for item in items)
    return Payload(kind, (), body, len(items), now)


def decode(body: bytes) -> list[int]:
    return [int(body[at : at + ITEM_BYTES]) for at in range(0, len(body), ITEM_BYTES)]


def split(body: bytes) -> list[tuple[bytes, int]]:
    middle = len(body) // ITEM_BYTES // 2 * ITEM_BYTES
    return [(part, len(part) // ITEM_BYTES) for part in (body[:middle], body[middle:])]


class Streams:
    """Divides bodies between streams: an item belongs to one of three."""

    def list_streams(self, body: bytes) -> frozenset[str]:
        return frozenset(str(item % 3) for item in decode(body))

    def split_streams(self, body: bytes) -> list[tuple[bytes, int]]:
        return [self._select(body, {stream}) for stream in sorted(self.list_streams(body))]

    def separate_streams(self, body: bytes, streams: Container[str]) -> list[tuple[bytes, int]]:
        selected = {stream for stream in self.list_streams(body) if stream in streams}
        others = self.list_streams(body) - selected
        return [self._select(body, others), self._select(body, selected)]

    def _select(self, body: bytes, streams: Container[str]) -> tuple[bytes, int]:
        items = [b"%010d" % item for item in decode(body) if str(item % 3) in streams]
        return b"".join(items), len(items)


class QueueMachine(RuleBasedStateMachine):
    def make_queue(self, seed: int) -> DeliveryQueue:
        return DeliveryQueue(
            Destination("here", "http://here/push"),
            self.kind,
            pool=BytePool(MAX_BYTES),
            loaded_pool=BytePool(MAX_BYTES),
            seed=seed,
            split=split,
            separator=Streams() if self.kind == "logs" else None,
        )

    @initialize(kind=st.sampled_from(["metrics", "logs"]), seed=st.integers())
    def start(self, kind: PayloadKind, seed: int) -> None:
        self.kind = kind
        self.queue = self.make_queue(seed)
        self.now = 1_700_000_000_000
        self.next_item = 0
        self.next_id = 0
        self.in_flight: Delivery | None = None
        self.offered = 0
        self.accepted: list[int] = []  # items in the order in which the destination accepted them
        self.largest = 0
        self.is_ordered = True

    @rule(count=st.integers(1, 30))
    def offer(self, count: int) -> None:
        if self.kind == "metrics" and self.queue.is_full:
            return
        items = list(range(self.next_item, self.next_item + count))
        self.next_item += count
        self.offered += count
        payload = encode(self.kind, items, self.now)
        self.largest = max(self.largest, len(payload.body))
        self.check_notices(self.queue.offer(payload, self.now))

    @rule()
    def send(self) -> None:
        self.next_id += 1
        effect = self.queue.next_request(self.next_id, self.now)
        assert not isinstance(effect, LoadPayload), "nothing here is stored"
        if effect is not None:
            assert self.in_flight is None, "two in flight"
            assert effect.id == self.next_id
            self.in_flight = effect
        elif not self.queue.is_empty and self.in_flight is None:
            # Whatever the clock has done, the next attempt is near.
            poll = self.queue.next_poll
            assert poll is not None
            assert self.now < poll <= self.now + MAX_RETRY_AFTER

    @precondition(lambda self: self.in_flight is not None)
    @rule(result=results)
    def answer(self, result: HttpResult | NetworkFailure) -> None:
        effect, self.in_flight = self.in_flight, None
        assert effect is not None
        before = self.queue.counters.delivered + self.queue.counters.rejected
        self.check_notices(self.queue.complete(effect.id, result, self.now))
        if self.queue.counters.delivered + self.queue.counters.rejected > before:
            self.accepted += decode(effect.body)

    @rule(result=results, back=st.integers(-3, 5))
    def stale_answer(self, result: HttpResult | NetworkFailure, back: int) -> None:
        stale = self.next_id - back
        if self.in_flight is None or stale != self.in_flight.id:
            before = self.queue.status(self.now), self.queue.counters.answers.copy()
            assert self.queue.complete(stale, result, self.now) == ()
            assert before == (self.queue.status(self.now), self.queue.counters.answers)

    @rule(by=st.sampled_from([1, 1_000, 60_000, 3_600_000, -1, -1_000, -86_400_000]))
    def time_passes(self, by: int) -> None:
        self.now += by

    @rule()
    def wait_for_next_poll(self) -> None:
        if self.queue.next_poll is not None:
            self.now = max(self.now, self.queue.next_poll)
            self.send()
            # Unless all of the head went to the quarantine.
            is_later = (self.queue.next_poll or 0) > self.now
            assert self.in_flight is not None or is_later, "the queue was not due when it said"

    @rule()
    def hurry(self) -> None:
        self.queue.begin_drain()

    @rule()
    def crash(self) -> None:
        """A new queue continues with the payloads; the one in flight is sent again."""
        waiting, counters = self.queue.waiting, self.queue.counters
        self.queue = self.make_queue(seed=2)
        self.queue.counters = counters
        for payload in waiting:
            counters.offered -= payload.items
            self.queue.offer(payload, self.now)
        self.in_flight = None

    def check_notices(self, notices: tuple[Notice, ...]) -> None:
        assert isinstance(notices, tuple)
        for notice in notices:
            assert isinstance(notice, Notice)
            assert all(isinstance(value, str | int | float) for _, value in notice.fields)

    @invariant()
    def order_is_kept(self) -> None:
        waiting = [item for payload in self.queue.waiting for item in decode(payload.body)]
        assert len({*self.accepted, *waiting}) == len(self.accepted) + len(waiting)
        # A payload that fails repeatedly does not block the others, and is divided by stream.
        quarantine = self.queue._quarantine
        self.is_ordered &= quarantine.is_empty and not quarantine.evidence.divisions
        if not self.is_ordered:
            return
        assert self.accepted == sorted(self.accepted)
        assert waiting == sorted(waiting)
        assert not self.accepted or not waiting or self.accepted[-1] < waiting[0]

    @invariant()
    def every_item_is_in_one_place(self) -> None:
        counters, status = self.queue.counters, self.queue.status(self.now)
        assert counters.offered == self.offered
        assert counters.delivered + counters.rejected == len(self.accepted)
        dropped = sum(counters.dropped.values())
        assert len(self.accepted) + dropped + status.items == counters.offered

    @invariant()
    def bounds_hold(self) -> None:
        status = self.queue.status(self.now)
        assert status.bytes == sum(len(payload.body) for payload in self.queue.waiting)
        if self.kind == "logs":
            assert status.bytes <= MAX_BYTES or status.payloads == 1
        else:
            assert status.bytes < MAX_BYTES + self.largest
            assert "queue_full" not in self.queue.counters.dropped

    @invariant()
    def it_waits_for_something(self) -> None:
        waits_for_time = self.queue.next_poll is not None
        waits_for_an_answer = self.in_flight is not None
        waits_for_an_offer = self.queue.is_empty
        assert waits_for_time + waits_for_an_answer + waits_for_an_offer == 1


QueueMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=50)
TestQueue = QueueMachine.TestCase
