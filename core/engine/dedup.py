"""The deduplication window: batches that were accepted lately.

Players send a batch again when its answer is late or lost, concurrently too, and stored batches
again on the next page load. The bytes are the same each time, so a hash identifies the batch.
Source: the retry queue of both SDK generations.
"""

from collections import deque
from hashlib import blake2b
from zlib import crc32

from xxhash import xxh3_128_digest

from ..effects import DedupEntry
from ..primitives.fair_share import NEWCOMERS_SHARE, surplus_by_group


def digest_of(body: bytes) -> bytes:
    """Return the 16 bytes that identify a body.

    The hash is not cryptographic, which would take some twenty times as long: to make another
    sender's batch count as a duplicate one needs all its bytes, and can then send it anyway.
    """
    return xxh3_128_digest(body)


def digest_of_key(idempotency_key: str, api_key: str) -> bytes:
    """Return the 16 bytes that identify a client's own key of a batch.

    It belongs to an API key, so that no client can make batches of another one count as duplicates.
    For the same reason this hash is cryptographic.
    """
    scope = api_key.encode("utf-8", "surrogatepass")
    key = idempotency_key.encode("utf-8", "surrogatepass")
    return blake2b(key, digest_size=16, key=blake2b(scope).digest()).digest()


EVENT_BITS = 32
MAX_EVENTS = (1 << EVENT_BITS) - 1


NEWCOMERS = ""
"""The group of batches whose view has not come back since it was first seen."""

RESTORED = "restored"
"""The group of batches that were accepted before a restart, of which only the digest is known."""

GROUPS_PER_ORGANISATION = 16

EVICTED_AT_ONCE = 64
"""The limit divided by this is evicted at a time: finding the largest groups takes a while."""


def group_of(org_id: str, view_id: str) -> str:
    """Returns the group of a batch of an established view: some views of its organisation.

    So an organisation can only evict its own batches, and one view only those of a few others.
    """
    return f"{org_id}/{crc32(view_id.encode('utf-8', 'surrogatepass')) % GROUPS_PER_ORGANISATION}"


class DedupWindow:
    """Batches accepted within a window of time, bounded in number.

    Batches are evicted early where a group has most of them, the oldest first.

    Attributes:
        forgotten: Batches evicted early because there were too many (grows only).
    """

    def __init__(self, window: int, limit: int) -> None:
        self._window = window
        self._limit = limit
        # Time and number of events in one integer: a tuple would double the memory.
        self._accepted: dict[bytes, int] = {}
        self._orders: dict[str, deque[bytes]] = {}  # the digests of each group by acceptance
        self._outdated: dict[bytes, int] = {}  # how many places in the orders are no longer valid
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

    def remember(self, digest: bytes, events: int, now: int, group: str = NEWCOMERS) -> None:
        """Add an accepted batch, and evict those that are too old or too many.

        Args:
            digest: Identifies the batch.
            events: The events that it held.
            now: Current time in ms.
            group: See ``group_of``.
        """
        if not self._window:
            return
        self.forget(digest)
        order = self._orders.get(group)
        if order is not None:
            self._drop_expired(order, now)
        if len(self._accepted) >= self._limit:
            self._drop_all_expired(now)
        while len(self._accepted) >= self._limit:
            self._evict_early()
        self._accepted[digest] = now << EVENT_BITS | min(events, MAX_EVENTS)
        self._orders.setdefault(group, deque()).append(digest)

    def _drop_all_expired(self, now: int) -> None:
        for name, order in list(self._orders.items()):
            self._drop_expired(order, now)
            if not order:
                del self._orders[name]

    def _drop_expired(self, order: deque[bytes], now: int) -> None:
        while order and self._is_expired(order[0], now):
            self._remove_first(order)

    def _is_expired(self, digest: bytes, now: int) -> bool:
        if digest in self._outdated:
            return True
        return now - (self._accepted[digest] >> EVENT_BITS) > self._window

    def _remove_first(self, order: deque[bytes]) -> bool:
        """Removes the first place of an order; returns whether it was valid."""
        digest = order.popleft()
        outdated = self._outdated.pop(digest, 0)
        if outdated > 1:
            self._outdated[digest] = outdated - 1
        if not outdated:
            del self._accepted[digest]
        return not outdated

    def _evict_early(self) -> None:
        """Evicts some places: newcomers beyond their share, then those of the largest groups."""
        surplus = 1 + self._limit // EVICTED_AT_ONCE
        newcomers = self._orders.get(NEWCOMERS, ())
        first = min(surplus, max(0, len(newcomers) - self._limit // NEWCOMERS_SHARE))
        sizes = {name: len(order) for name, order in self._orders.items()}
        if first:
            sizes[NEWCOMERS] -= first
        lost = surplus_by_group(sizes, surplus - first)
        lost[NEWCOMERS] += first
        for name, count in lost.items():
            for _ in range(count):
                self.forgotten += self._remove_first(self._orders[name])
