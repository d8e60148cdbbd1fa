"""Key-value stores that processes share what they have to agree on through."""

from openqoe.shells.stores.memory import MemoryStore

__all__ = ["MemoryStore"]
