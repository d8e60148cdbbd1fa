"""The exchange with the shared key-value store: what was admitted here, and elsewhere."""

from dataclasses import replace

from openqoe.core.effects import AddMembers, KvResult, KvUpdate, Result
from openqoe.core.governance.governor import Governor
from openqoe.core.timer import Timer


class Sharing:
    """Tells the store what was admitted and takes over what it answers.

    One update at a time. If the store does not answer, admission goes on by what is known
    here, and the operations are sent again.
    """

    def __init__(self, governor: Governor, interval: int) -> None:
        self._governor = governor
        self._timer = Timer(interval)
        self._update: KvUpdate | None = None
        self._unsent: tuple[AddMembers, ...] = ()

    def begin(self, now: int) -> None:
        """Note when the worker came to life; only the first call counts."""
        self._timer.start(now)

    def state(self) -> int | None:
        """The state, for a snapshot: the time of the latest update, which may not have come
        through. What it told is not needed, because each dimension tells all of it again."""
        return self._timer.state()

    def restore(self, last: int | None) -> None:
        """Take a state back."""
        self._timer.restore(last)

    def due(self, effect_id: int, now: int) -> KvUpdate | None:
        """The update that is to be run now, if there is one."""
        if self._update is not None or not self._timer.is_due(now):
            return None
        self._timer.restart(now)
        operations = _merged((*self._unsent, *self._governor.fresh(now)))
        self._unsent = ()
        if operations:
            self._update = KvUpdate(effect_id, operations)
        return self._update

    def next_poll(self) -> int | None:
        """When the next update will be due; None if there is nothing to tell."""
        if self._update is None and (self._unsent or self._governor.has_fresh):
            return self._timer.next
        return None

    def complete(self, effect_id: int, result: Result, now: int) -> bool:
        """Take the result of an update; True if the labels worked out so far are void."""
        update = self._update
        if update is None or update.id != effect_id:
            return False
        self._update = None
        if isinstance(result, KvResult):
            return self._governor.adopt(update.operations, result.replies, now)
        self._unsent = update.operations
        return False


def _merged(operations: tuple[AddMembers, ...]) -> tuple[AddMembers, ...]:
    """One operation a set, whatever has gathered while the store did not answer."""
    merged: dict[str, AddMembers] = {}
    for operation in operations:
        before = merged.get(operation.key)
        if before is not None:
            members = tuple(dict.fromkeys((*before.members, *operation.members)))
            operation = replace(operation, members=members)
        merged[operation.key] = operation
    return tuple(merged.values())
