"""The interface of a key-value store."""

from typing import Protocol

from openqoe.core.kv import Operation, Reply


class StoreError(Exception):
    """The store did not run the operations, or not all of them; the text is the reason.

    They may be run again: each is idempotent.
    """


class Store(Protocol):
    """Runs the operations of ``KvUpdate`` effects, one call at a time, blocking."""

    def run(self, operations: tuple[Operation, ...]) -> tuple[Reply, ...]:
        """Run operations in order; return their replies.

        Raises:
            StoreError: The store is unreachable, too slow, full, or of another kind.
        """

    def close(self) -> None:
        """Release the resources of the store."""
