"""A bound on bytes that several queues share."""


class BytePool:
    """Bytes that the queues of one destination use together.

    Each of n queues may always use an nth of the bound, and more as long as the others leave room.
    So an outage of one tenant takes nothing from the others. A queue that used their room before
    they needed it gives it back when it is offered its next payload, so all together are above the
    bound only for that long, and below twice the bound.

    Attributes:
        bytes: Bytes that all use.
        members: Number of queues.
    """

    __slots__ = ("_bound", "bytes", "members")

    def __init__(self, bound: int) -> None:
        """
        Args:
            bound: Maximum bytes of all queues.
        """
        self._bound = bound
        self.bytes = 0
        self.members = 0

    def share(self, own: int) -> int:
        """Return the bytes that a queue may use.

        Args:
            own: Bytes that it uses.
        """
        return max(self._bound // self.members, self._bound - (self.bytes - own))
