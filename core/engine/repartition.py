"""Moves views when the number of slots of a host changes.

Theory of operation. All workers of the host are at rest: nothing waits to be applied or forwarded.
Each view is copied to its owner of the new number of slots, and each slot gets the deduplication
windows of all. Then every slot writes a checkpoint. Nothing has changed yet, since a worker that
restores a checkpoint discards the views that it does not own (``discard_foreign_views``): a crash
here leaves the old partition, and the step may be repeated. The new one takes effect once the
number of slots is replaced on the disk, in one step. Counters stay with their slot.
"""

from collections.abc import Sequence

from ..cluster.partition import Partition, owner_of
from ..effects import DedupEntry
from ..qoe.view_table import ViewTable


def copy_views(tables: Sequence[ViewTable], slots: int) -> None:
    """Copy each view to its owner of a new number of slots.

    Args:
        tables: The views of each slot, at least as many as the new number of slots.
        slots: The new number of slots.
    """
    known = [table.list_keys() for table in tables]
    for table, keys in zip(tables, known, strict=True):
        for key in keys:
            owner = tables[owner_of(key.view_id, slots)]
            if owner is not table:
                owner.copy_view(key, table)


def discard_foreign_views(views: ViewTable, partition: Partition) -> None:
    """Forget the views that other slots own."""
    own = partition.own
    keys = views.list_keys()
    views.discard_views(key for key in keys if partition.owner_of(key.view_id) != own)


def merge_windows(windows: Sequence[Sequence[DedupEntry]]) -> list[DedupEntry]:
    """Return one deduplication window for all slots, oldest entry first."""
    latest: dict[bytes, DedupEntry] = {}
    for window in windows:
        for entry in window:
            found = latest.get(entry.digest)
            if found is None or found.at < entry.at:
                latest[entry.digest] = entry
    return sorted(latest.values(), key=lambda entry: entry.at)
