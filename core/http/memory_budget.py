"""What all connections of a server may hold in memory together."""


class MemoryBudget:
    """Bytes of requests that have begun.

    Attributes:
        limit: How many there may be.
        used: How many there are.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether there are more than there may be."""
        return self.used > self.limit
