"""A key-value store in memory: for one process, or several workers within one."""

from threading import Lock

from openqoe.core.effects import AddMembers, KvOperation


class MemoryStore:
    """Runs the operations of ``KvUpdate`` effects. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sets: dict[str, dict[str, int]] = {}  # member to the day it was last added

    def run(self, operations: tuple[KvOperation, ...]) -> tuple[tuple[str, ...], ...]:
        """Run operations in order; returns their replies."""
        with self._lock:
            return tuple(self._add(operation) for operation in operations)

    def _add(self, operation: AddMembers) -> tuple[str, ...]:
        members = self._sets.get(operation.key, {})
        members = {m: day for m, day in members.items() if day >= operation.day - 1}
        for member in operation.members:
            if member in members:
                members[member] = max(members[member], operation.day)
            elif operation.limit is None or len(members) < operation.limit:
                members[member] = operation.day
        self._sets[operation.key] = members
        return tuple(members)
