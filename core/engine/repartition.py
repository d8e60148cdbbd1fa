"""Moves views when the number of slots of a host changes.

Theory of operation. All workers of the host are at rest: nothing waits to be applied or forwarded.
Each view is copied to its owner of the new number of slots, and each worker gets the deduplication
windows of all. Then every worker writes a checkpoint. Nothing has changed yet, since a worker that
restores a checkpoint discards the views that it does not own: a crash here leaves the old
partition, and the step may be repeated. The new one takes effect once the number of slots is
replaced on the disk, in one step. Counters stay with their slot.

The window of a batch that was accepted says that all of its events were applied. That is why
nothing may wait: a copy of the batch is a duplicate in every slot from then on.
"""

from collections.abc import Sequence

from ..cluster.partition import owner_of
from ..effects import DedupEntry
from .components import Components


def copy_state(workers: Sequence[Components], slots: int) -> None:
    """Copy each view to its owner, and each accepted batch to all windows.

    Args:
        workers: The workers of all slots, at least as many as the new number of slots.
        slots: The new number of slots.
    """
    tables = [worker.applier.recorder.views for worker in workers]
    known = [table.list_keys() for table in tables]
    for table, keys in zip(tables, known, strict=True):
        for key in keys:
            owner = tables[owner_of(key.view_id, slots)]
            if owner is not table:
                owner.copy_view(key, table)
    entries: dict[bytes, DedupEntry] = {}
    for worker in workers:
        for entry in worker.ingest.dedup.list_entries():
            found = entries.get(entry.digest)
            if found is None or found.at < entry.at:
                entries[entry.digest] = entry
    for entry in sorted(entries.values(), key=lambda entry: entry.at):
        for worker in workers:
            if entry.digest not in worker.ingest.dedup:
                assert worker.durability is not None, "only durable workers have slots"
                worker.durability.remember(entry)
