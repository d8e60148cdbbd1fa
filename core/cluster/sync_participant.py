"""A part of the exchange with the shared store."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..kv import Operation, Reply


class Part(ABC):
    """Has operations to run and takes their replies.

    If no replies come, ``operations`` is called again: what was asked is asked once more.
    """

    @abstractmethod
    def operations(self, now: int) -> list[Operation]:
        """What is to be run now, in order."""

    @abstractmethod
    def take(self, replies: Sequence[Reply], now: int) -> None:
        """Take the replies to the operations given last."""

    @abstractmethod
    def store_lost(self, now: int) -> None:
        """The store does not know any more what it was told."""
