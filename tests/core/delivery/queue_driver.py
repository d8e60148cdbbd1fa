"""A delivery queue that a test drives: payloads of one item per byte, and answers by body."""

from collections.abc import Callable

from openqoe.core.config.destinations import Destination
from openqoe.core.delivery.byte_pool import BytePool
from openqoe.core.delivery.delivery_queue import DeliveryQueue
from openqoe.core.delivery.payload import BodySplitter, Payload
from openqoe.core.delivery.payload_buffer import MAX_LOADED
from openqoe.core.effects import HttpResult, LokiPush, PayloadKind, RemoteWrite

NOW = 1_700_000_000_000
OK = HttpResult(204)
LOKI = Destination("loki", "http://loki/push", (("X-Scope-OrgID", "shop"),))


def payload(body: bytes, kind: PayloadKind = "logs", created: int = NOW) -> Payload:
    """A payload with one item per byte of its body."""
    return Payload(kind, (("Content-Type", "x"),), body, len(body), created)


def halves(body: bytes) -> list[tuple[bytes, int]]:
    middle = len(body) // 2
    return [(part, len(part)) for part in (body[:middle], body[middle:])]


def make_queue(
    kind: PayloadKind = "logs",
    *,
    max_bytes: int = 1_000,
    seed: int = 1,
    split: BodySplitter = halves,
) -> DeliveryQueue:
    return DeliveryQueue(
        LOKI,
        kind,
        pool=BytePool(max_bytes),
        loaded_pool=BytePool(MAX_LOADED),
        seed=seed,
        split=split,
    )


def filled_queue(
    *bodies: bytes,
    kind: PayloadKind = "logs",
    max_bytes: int = 1_000,
    seed: int = 1,
    split: BodySplitter = halves,
) -> DeliveryQueue:
    queue = make_queue(kind, max_bytes=max_bytes, seed=seed, split=split)
    for body in bodies:
        queue.offer(payload(body, kind), NOW)
    return queue


def due(queue: DeliveryQueue, effect_id: int, now: int) -> RemoteWrite | LokiPush:
    """The request to send now; there must be one."""
    effect = queue.next_request(effect_id, now)
    assert isinstance(effect, RemoteWrite | LokiPush)
    return effect


def next_poll(queue: DeliveryQueue) -> int:
    """The time of the next request; the queue must wait for nothing else."""
    poll = queue.next_poll
    assert poll is not None
    return poll


def run(
    queue: DeliveryQueue, answer: Callable[[bytes], HttpResult], now: int = NOW, *, limit: int = 100
) -> list[bytes]:
    """Sends until the queue waits or is empty; returns the bodies in the order of sending."""
    sent: list[bytes] = []
    while len(sent) < limit and (effect := queue.next_request(len(sent), now)) is not None:
        assert isinstance(effect, RemoteWrite | LokiPush)
        sent.append(effect.body)
        queue.complete(effect.id, answer(effect.body), now)
    return sent


def drive(
    queue: DeliveryQueue, answer: Callable[[bytes], HttpResult], *, hours: float = 1, now: int = NOW
) -> list[bytes]:
    """Sends whenever the queue is due, for some hours; returns the bodies in order."""
    sent: list[bytes] = []
    until = now + round(hours * 3_600_000)
    while (poll := queue.next_poll) is not None and poll <= until:
        now = max(now, poll)
        effect = queue.next_request(len(sent), now)
        if effect is None:
            break
        assert isinstance(effect, RemoteWrite | LokiPush)
        sent.append(effect.body)
        queue.complete(effect.id, answer(effect.body), now)
    return sent
