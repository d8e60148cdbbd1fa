"""Key-value stores through which the workers of several hosts coordinate.

``store_interface`` defines a store, and ``redis_store`` implements it. ``store_selection`` opens
the one that the settings ask for; ``store_runner`` runs updates on it in the background.
"""

from .store_interface import Store, StoreError

__all__ = ["Store", "StoreError"]
