"""Batches that were accepted before.

Players send a batch again when its answer is late or lost, concurrently too, and stored
batches again on the next page load. The bytes are the same each time, so their hash tells.
Source: the retry queue of both SDK generations.
"""

from collections import OrderedDict

from xxhash import xxh3_128_digest


def digest_of(body: bytes) -> bytes:
    """Identifies a batch, by 16 bytes.

    Not by a cryptographic hash, which takes some twenty times as long: to have another's batch
    taken for a duplicate, one would have to know all its bytes, and whoever does can send them.
    """
    return xxh3_128_digest(body)


class DedupWindow:
    """The batches accepted lately.

    Attributes:
        forgotten: Batches dropped before their time because there were too many (grows only).
    """

    def __init__(self, window: int, limit: int) -> None:
        self._window = window
        self._limit = limit
        # In order of acceptance. To find the oldest of a plain dictionary whose oldest are removed
        # again and again takes the longer the more have been: 60 µs where 200,000 are kept.
        self._accepted: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._accepted)

    def find(self, digest: bytes, now: int) -> int | None:
        """How many events the batch held if it was accepted within the window, else None."""
        found = self._accepted.get(digest)
        if found is None or now - found[0] > self._window:
            return None
        return found[1]

    def forget(self, digest: bytes) -> None:
        """A batch was not accepted after all."""
        self._accepted.pop(digest, None)

    def remember(self, digest: bytes, events: int, now: int) -> None:
        """Note that a batch was accepted."""
        if not self._window:
            return
        self._accepted.pop(digest, None)
        self._accepted[digest] = (now, events)
        while self._accepted:
            oldest = next(iter(self._accepted))
            if now - self._accepted[oldest][0] > self._window:
                del self._accepted[oldest]
            elif len(self._accepted) > self._limit:
                del self._accepted[oldest]
                self.forgotten += 1
            else:
                break
