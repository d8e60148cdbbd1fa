"""Cardinality, shared: which label values are admitted, by first sight over all workers."""

from collections.abc import Sequence
from typing import cast

from ..governance.governor import DAY, Governor
from ..kv import AddMembers, Members, Operation, Reply
from .sync_participant import SyncParticipant


class CardinalitySync(SyncParticipant):
    """Tells the store what was admitted here, and takes over what was admitted elsewhere.

    Attributes:
        changed: Whether labels worked out before are void, until somebody resets it.
    """

    def __init__(self, governor: Governor) -> None:
        self._dimensions = {n: d for n, d in governor.dimensions.items() if d.is_limited}
        self._shared = dict.fromkeys(self._dimensions, Members(-1, 0, ()))
        self._asked: list[AddMembers] = []
        self._day = 0
        self.changed = False

    def operations(self, now: int) -> list[Operation]:
        """One operation a dimension: also those ask that have nothing to tell."""
        self._asked = [
            AddMembers(
                f"cardinality:{name}",
                dimension.unpublished,
                dimension.limit.max_cardinality,
                now // DAY,
                self._shared[name].version,
                len(self._shared[name].members),
            )
            for name, dimension in self._dimensions.items()
        ]
        return list(self._asked)

    def process_replies(self, replies: Sequence[Reply], now: int) -> None:
        """Take over the sets of the store."""
        day = now // DAY
        asked = zip(self._dimensions.items(), self._asked, replies, strict=True)
        for (name, dimension), operation, reply in asked:
            told = cast(Members, reply)
            before = self._shared[name]
            members = before.members[: told.start] + told.members
            self._shared[name] = Members(told.version, 0, members)
            dimension.mark_published(operation.members)
            is_news = bool(told.members or operation.members or told.version != before.version)
            if is_news or day != self._day:
                self.changed |= dimension.adopt_shared_values(members, day)
        self._day = day

    def republish(self, now: int) -> None:
        """Tell everything again."""
        for name, dimension in self._dimensions.items():
            self._shared[name] = Members(-1, 0, ())
            dimension.mark_all_unpublished()
