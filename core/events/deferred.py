"""A batch that was accepted and has to wait until it takes effect.

Decoded, events take ten times what their bytes do. So of many that wait the bytes are kept, and
decoded once more when their time has come: the same bytes at the same time are the same events.
"""

from .decoder import BatchDecoder, DecodedBatch

MOST_DECODED = 5_000
"""Events that wait decoded, about: those of the batch that reaches it are the last."""


class KeptBatch:
    """A batch that waits.

    Attributes:
        at: Time of its arrival, ms.
        events: How many good events it has.
    """

    __slots__ = ("_body", "_decoded", "at", "events")

    def __init__(self, body: bytes, batch: DecodedBatch, at: int) -> None:
        """
        Args:
            body: Its bytes.
            batch: What they were decoded to at that time.
            at: Time of its arrival, ms.
        """
        self._body = body
        self._decoded: DecodedBatch | None = batch
        self.at = at
        self.events = len(batch.events)

    def pack(self) -> None:
        """Keep its bytes only."""
        self._decoded = None

    def open(self, decoder: BatchDecoder) -> DecodedBatch:
        """Its events; its time has come, so they are kept from now on."""
        if self._decoded is None:
            self._decoded = decoder.decode(self._body, self.at)
        return self._decoded

    def empty(self) -> None:
        """It has taken effect: keep nothing."""
        self._body, self._decoded = b"", None
