"""What survives a crash: journal, snapshot, outbox and window of duplicates.

Each slot of the data directory has a journal (``journal``: files that only grow) and a SQLite file
for the rest (``storage``). The core decides what is written and when (``engine/durability``);
here it is carried out, without a runtime: all shells use the same.
"""

from .inspection import PendingPayloads, SlotContents, inspect_slot
from .slot_storage import LoadedSlot, Storage
from .slots import Slot, Slots
from .storage_errors import NewerFormatError, StorageError

__all__ = [
    "LoadedSlot",
    "NewerFormatError",
    "PendingPayloads",
    "Slot",
    "SlotContents",
    "Slots",
    "Storage",
    "StorageError",
    "inspect_slot",
]
