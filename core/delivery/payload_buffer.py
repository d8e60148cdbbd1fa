"""The payloads of one queue in order, and the bytes that they use.

With an outbox, payloads have numbers. Beyond ``MAX_LOADED`` bytes, bodies stay in the outbox until
their payload is the head, so an outage costs disk but no memory. The outbox keeps a payload until
all of its parts have left.
"""

from collections import deque
from collections.abc import Container, Iterable, Iterator

from .byte_pool import BytePool
from .payload import Payload

MAX_LOADED = 4 * 1024 * 1024
"""Maximum bytes of bodies in memory if there is an outbox."""

MINUTE = 60_000


class PayloadBuffer:
    """Payloads in order, of which the first is the head.

    Attributes:
        bytes: The bytes of all bodies, those of payloads that were taken out included, until they
            are released.
    """

    def __init__(self, pool: BytePool, loaded_pool: BytePool) -> None:
        """
        Args:
            pool: Bounds the bytes of bodies, of this buffer and of those that share the pool.
            loaded_pool: Bounds the bytes of bodies in memory if there is an outbox.
        """
        self.bytes = 0
        self._loaded_bytes = 0
        self._pool = pool
        self._loaded_pool = loaded_pool
        for each in (pool, loaded_pool):
            each.members += 1
        self._payloads: deque[Payload] = deque()
        self._pieces: dict[int, int] = {}  # unfinished parts by number
        self._finished_numbers: list[int] = []

    def __len__(self) -> int:
        return len(self._payloads)

    def __iter__(self) -> Iterator[Payload]:
        return iter(self._payloads)

    @property
    def head(self) -> Payload:
        """The first payload; raises ``IndexError`` without any."""
        return self._payloads[0]

    # Its bounds

    @property
    def max_bytes(self) -> int:
        """Bytes that it may use."""
        return self._pool.share(self.bytes)

    @property
    def max_loaded(self) -> int:
        """Bytes of bodies that it may have in memory if there is an outbox."""
        return self._loaded_pool.share(self._loaded_bytes)

    def drop_oldest(self, *, spare_head: bool) -> Iterator[Payload]:
        """Release the oldest payloads beyond the bound, except the last one."""
        while self.bytes > self.max_bytes and len(self._payloads) > 1:
            payload = self._payloads[spare_head]
            del self._payloads[spare_head]
            yield self.release(payload)

    def thin(self, *, spare_head: bool) -> list[tuple[Payload, str]]:
        """Release payloads that later ones repeat: all but the newest of each minute, then others.

        Returns:
            Each with the reason.
        """
        # Frees a tenth, or every following flush would examine the whole queue.
        enough = self.max_bytes * 9 // 10
        spared = self.head if spare_head else None
        dropped: list[tuple[Payload, str]] = []
        for reason in ("thinned", "queue_full"):
            newest = {p.created // MINUTE: p.created for p in self._payloads}
            kept = deque[Payload]()
            for payload in self._payloads:
                is_newest = payload.created == newest[payload.created // MINUTE]
                if (
                    payload is spared
                    or not payload.thinnable
                    or self.bytes <= enough
                    or (reason == "thinned" and is_newest)
                ):
                    kept.append(payload)
                else:
                    self.release(payload)
                    dropped.append((payload, reason))
            self._payloads = kept
        return dropped

    def pop_created_before(self, time: int) -> Iterator[Payload]:
        """Release the first payloads that are older than a time (ms)."""
        while self._payloads and self._payloads[0].created < time:
            yield self.pop_head()

    def unload(self, unstored: Container[int]) -> None:
        """Drop bodies beyond the bound, but for the head and those not yet in the outbox."""
        most = self.max_loaded
        if self._loaded_bytes <= most:
            return
        loaded = 0
        for place, payload in enumerate(self._payloads):
            size = len(payload.body)
            # The outbox has the whole of a part, not the part.
            is_stored = payload.number not in unstored and payload.number not in self._pieces
            if place and is_stored and loaded + size > most:
                self._payloads[place] = payload.without_body()
                self._count_bytes(0, -size)
            else:
                loaded += size

    # In and out

    def append(self, payload: Payload, *, is_stored: bool) -> None:
        """Add a payload at the end, without its body if that is in the outbox and memory is full.

        Args:
            payload: The payload.
            is_stored: Whether the outbox has its body, if it has a number.
        """
        is_unloadable = payload.number and is_stored
        if is_unloadable and self._loaded_bytes + len(payload.body) > self.max_loaded:
            payload = payload.without_body()
        self._payloads.append(payload)
        self._count_bytes(payload.size, len(payload.body))

    def pop_head(self) -> Payload:
        """Remove the head for good."""
        return self.release(self.take_head())

    def take_head(self) -> Payload:
        """Remove the head for some time. It still counts until it is released."""
        return self._payloads.popleft()

    def put_in_front(self, payloads: Iterable[Payload]) -> None:
        """Put payloads that were taken out before the others, in their order."""
        self._payloads.extendleft(reversed(tuple(payloads)))

    def replace_head(self, payload: Payload) -> None:
        """Replace the head by a changed copy."""
        head = self.head
        self._payloads[0] = payload
        self._count_bytes(payload.size - head.size, len(payload.body) - len(head.body))

    def divide_head(self, parts: tuple[Payload, ...]) -> None:
        """Replace the head by its parts."""
        number = self.head.number
        if number:
            self._pieces[number] = self._pieces.get(number, 1) + len(parts)
        for part in parts:
            self._count_bytes(part.size, len(part.body))
        self.pop_head()
        self.put_in_front(parts)

    def release(self, payload: Payload) -> Payload:
        """Forget a payload that was removed; the outbox may delete it with its last part."""
        self._count_bytes(-payload.size, -len(payload.body))
        if payload.number:
            pieces = self._pieces.pop(payload.number, 1) - 1
            if pieces:
                self._pieces[payload.number] = pieces
            else:
                self._finished_numbers.append(payload.number)
        return payload

    def pop_finished_numbers(self) -> tuple[int, ...]:
        """The numbers of the payloads that were finished since the last call."""
        if not self._finished_numbers:
            return ()
        finished, self._finished_numbers = tuple(self._finished_numbers), []
        return finished

    def retire(self) -> None:
        """Give up its place in the pools. It must be empty."""
        for each in (self._pool, self._loaded_pool):
            each.members -= 1

    def _count_bytes(self, size: int, loaded: int) -> None:
        self.bytes += size
        self._pool.bytes += size
        self._loaded_bytes += loaded
        self._loaded_pool.bytes += loaded
