"""Key-value stores through which several workers count as one.

``store`` says what a store is; ``memory``, ``sqlite`` and ``redis`` are three, for one
process, one host, and several hosts. ``opening`` finds the one that the settings ask for,
``runner`` runs updates on it in the background.
"""

from .memory_store import MemoryStore
from .sqlite_store import SqliteStore
from .store_interface import Store, StoreError

__all__ = ["MemoryStore", "SqliteStore", "Store", "StoreError"]
