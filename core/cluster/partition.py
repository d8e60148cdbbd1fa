"""The partition of views among the workers of one host: each view has one owner.

Theory of operation. A host has a fixed number of slots. A hash of a view's id names the slot that
owns the view, so all of its events are applied by one worker, and counts equal those of a single
process. Any worker accepts any request. One for views of another worker is relayed to that one
(``relay``). Where that fails, and for batches with views of several owners, the worker journals and
answers the batch itself. Then it applies the events of its own views, and forwards the whole batch
to the owners of the others (``forwarding``), which apply theirs. Events without a view go with the
first view of their batch. A batch without any view belongs to the slot that its digest names, so
that its copies meet, too.

Every owner keeps the digest of a batch in its deduplication window, whether a client or another
worker sent the batch. So copies that reached several workers count once, and a batch may be
forwarded again after a crash.

A worker beyond the slots, as during a reload, owns no views and forwards all.
"""

from typing import NamedTuple
from zlib import crc32

from ..qoe.view import key_text


class Partition(NamedTuple):
    """The slots of a host, seen from one of its workers.

    Attributes:
        slots: Number of slots that own views.
        own: The worker's slot.
    """

    slots: int
    own: int

    def owner_of(self, view_id: str) -> int:
        """Return the slot that owns a view, by the id of an event or of a ``ViewKey``."""
        return owner_of(view_id, self.slots)

    def owner_of_batch(self, digest: bytes) -> int:
        """Return the slot that owns a batch without views, by its digest."""
        return crc32(digest) % self.slots

    @property
    def others(self) -> tuple[int, ...]:
        """The slots that own the views of others."""
        return tuple(slot for slot in range(self.slots) if slot != self.own)


def owner_of(view_id: str, slots: int) -> int:
    """Return the slot that owns a view, of a number of slots."""
    return crc32(key_text(view_id).encode()) % slots
