"""Key-value stores through which several workers count as one.

``store`` says what a store is; ``memory``, ``sqlite`` and ``redis`` are three, for one
process, one host, and several hosts. ``opening`` finds the one that the settings ask for,
``runner`` runs updates on it in the background.
"""

from openqoe.shells.stores.memory import MemoryStore
from openqoe.shells.stores.sqlite import SqliteStore
from openqoe.shells.stores.store import Store, StoreError

__all__ = ["MemoryStore", "SqliteStore", "Store", "StoreError"]
