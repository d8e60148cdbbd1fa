"""What survives a crash: journal, snapshot, outbox and window of duplicates.

Each slot of the data directory has a journal (``journal``: files that only grow) and a SQLite file
for the rest (``storage``). The core decides what is written and when (``core/persistence.py``);
here it is carried out, without a runtime: all shells use the same.
"""

from openqoe.shells.storage.errors import NewerFormatError, StorageError
from openqoe.shells.storage.inspection import Contents, Waiting, inspect
from openqoe.shells.storage.slots import Slot, Slots
from openqoe.shells.storage.storage import Loaded, Storage

__all__ = [
    "Contents",
    "Loaded",
    "NewerFormatError",
    "Slot",
    "Slots",
    "Storage",
    "StorageError",
    "Waiting",
    "inspect",
]
