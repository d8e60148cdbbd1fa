"""The deduplication window: batches that were accepted lately.

Players send a batch again when its answer is late or lost, concurrently too, and stored batches
again on the next page load. The bytes are the same each time, so a hash identifies the batch.
Source: the retry queue of both SDK generations.
"""

from collections import deque
from hashlib import blake2b

from xxhash import xxh3_128_digest

from ..effects import DedupEntry


def digest_of(body: bytes) -> bytes:
    """Return the 16 bytes that identify a batch.

    The hash is not cryptographic, which would take some twenty times as long: to make another
    sender's batch count as a duplicate one needs all its bytes, and can then send it anyway.
    """
    return xxh3_128_digest(body)


def digest_of_key(idempotency_key: str, api_key: str) -> bytes:
    """Return the 16 bytes that identify a batch by the client's own key.

    It belongs to an API key, so that no client can make batches of another one count as duplicates.
    For the same reason this hash is cryptographic.
    """
    scope = api_key.encode("utf-8", "surrogatepass")
    key = idempotency_key.encode("utf-8", "surrogatepass")
    return blake2b(key, digest_size=16, key=blake2b(scope).digest()).digest()


def digest_of_pair(key_digest: bytes, body: bytes) -> bytes:
    """Return the 16 bytes that identify an idempotency key and the body it was used with."""
    return digest_of(key_digest + digest_of(body))


EVENT_BITS = 32
MAX_EVENTS = (1 << EVENT_BITS) - 1


class DedupWindow:
    """Batches accepted within a window of time, bounded in number.

    Attributes:
        forgotten: Batches evicted early because there were too many (grows only).
    """

    def __init__(self, window: int, limit: int) -> None:
        self._window = window
        self._limit = limit
        # Time and number of events in one integer: a tuple would double the memory.
        self._accepted: dict[bytes, int] = {}
        self._order: deque[bytes] = deque()  # the digests by acceptance
        self._outdated: dict[bytes, int] = {}  # how many places in the order are no longer valid
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._accepted)

    def __contains__(self, digest: bytes) -> bool:
        """Whether a batch is in the window, however old."""
        return digest in self._accepted

    def list_entries(self) -> list[DedupEntry]:
        """Return all entries."""
        return [
            DedupEntry(digest, found >> EVENT_BITS, found & MAX_EVENTS)
            for digest, found in self._accepted.items()
        ]

    def find(self, digest: bytes, now: int) -> int | None:
        """Return how many events the batch held; None if it was not accepted in the window."""
        found = self._accepted.get(digest)
        if found is None or now - (found >> EVENT_BITS) > self._window:
            return None
        return found & MAX_EVENTS

    def forget(self, digest: bytes) -> None:
        """Remove a batch: it was not accepted after all."""
        if self._accepted.pop(digest, None) is not None:
            self._outdated[digest] = self._outdated.get(digest, 0) + 1

    def remember(self, digest: bytes, events: int, now: int) -> None:
        """Add an accepted batch, and evict the oldest ones that are too old or too many."""
        if not self._window:
            return
        self.forget(digest)
        self._accepted[digest] = now << EVENT_BITS | min(events, MAX_EVENTS)
        self._order.append(digest)
        while self._order:
            oldest = self._order[0]
            if outdated := self._outdated.pop(oldest, 0):
                if outdated > 1:
                    self._outdated[oldest] = outdated - 1
            elif now - (self._accepted[oldest] >> EVENT_BITS) > self._window:
                del self._accepted[oldest]
            elif len(self._accepted) > self._limit:
                del self._accepted[oldest]
                self.forgotten += 1
            else:
                break
            self._order.popleft()
