"""Key-value stores through which several workers coordinate.

``store_interface`` defines a store; ``memory_store``, ``sqlite_store`` and ``redis_store``
implement it for one process, one host and several hosts. ``store_selection`` opens the one that the
settings ask for; ``store_runner`` runs updates on it in the background.
"""

from .memory_store import MemoryStore
from .sqlite_store import SqliteStore
from .store_interface import Store, StoreError

__all__ = ["MemoryStore", "SqliteStore", "Store", "StoreError"]
