"""Durable state of a worker: journal, snapshot, outbox and deduplication window.

Each slot of the data directory has a journal (``journal``: append-only files) and a SQLite
database for the rest (``slot_storage``). The core decides what is written and when
(``core/engine/durability``); this package carries it out, without a runtime, for all shells.
"""

from .inspection import PendingPayloads, SlotContents, inspect_slot
from .slot_storage import Storage
from .slots import Slot, Slots
from .storage_errors import NewerFormatError, StorageError

__all__ = [
    "NewerFormatError",
    "PendingPayloads",
    "Slot",
    "SlotContents",
    "Slots",
    "Storage",
    "StorageError",
    "inspect_slot",
]
