"""A participant of the updates that the coordinator sends to the shared store."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..kv import Operation, Reply


class SyncParticipant(ABC):
    """Contributes operations to an update and processes their replies.

    If an update fails, ``operations`` is called again. It then includes what was not answered.
    """

    @abstractmethod
    def operations(self, now: int) -> list[Operation]:
        """Return the operations of the next update, in order."""

    @abstractmethod
    def process_replies(self, replies: Sequence[Reply], now: int) -> None:
        """Process the replies to the operations returned last."""

    @abstractmethod
    def republish(self, now: int) -> None:
        """Publish everything again: the store has lost its content."""
