"""What a key-value store is to the shells."""

from typing import Protocol

from openqoe.core.kv import Operation, Reply


class StoreError(Exception):
    """The store did not carry out the operations, or not all of them; the text says why.

    They may be run again: each does no harm when it comes twice.
    """


class Store(Protocol):
    """Runs the operations of ``KvUpdate`` effects, one call at a time, blocking."""

    def run(self, operations: tuple[Operation, ...]) -> tuple[Reply, ...]:
        """Run operations in order; returns their replies.

        Raises:
            StoreError: The store is away, too slow, full, or not what it should be.
        """

    def close(self) -> None:
        """Give back what it holds of the system."""
