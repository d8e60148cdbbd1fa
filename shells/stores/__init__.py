"""Key-value stores through which several workers coordinate.

``store_interface`` defines a store; ``sqlite_store`` and ``redis_store`` implement it for one host
and for several. ``store_selection`` opens the one that the settings ask for; ``store_runner`` runs
updates on it in the background.
"""

from .sqlite_store import SqliteStore
from .store_interface import Store, StoreError

__all__ = ["SqliteStore", "Store", "StoreError"]
