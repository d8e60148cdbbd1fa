"""Evidence of whose fault a failure is: what was divided, and what was delivered since.

All parts of a payload have its flush (ms), by which they are recognised. If the destination accepts
one of them, it is not the destination's fault that it refuses others.
"""

MAX_DIVISIONS = 32
"""Divisions without a delivery in between: all payloads fail, and dividing does not help."""

MAX_TOLERATED = 256
"""Maximum consecutive rejections of a destination that accepts other parts."""


class FaultEvidence:
    """The answers of one destination, as far as they show whose fault its next failure is.

    Attributes:
        divisions: Divisions since the latest delivery.
        tests: Parts set aside one by one since the latest delivery.
        is_accepting: Whether the latest payload was delivered.
        is_part_accepted: Whether a part of the latest divided payload was delivered since its
            latest division.
    """

    def __init__(self, tolerated_rejections: int) -> None:
        self.divisions = self.tests = 0
        self.is_accepting = False
        self.is_part_accepted = False
        self._rejections = 0  # since the latest delivery
        self._least_tolerated = self._tolerated = tolerated_rejections
        self._divided_flush: int | None = None  # of the latest divided payload
        self._accepted_flush: int | None = None  # of the latest one with a delivered part

    @property
    def may_divide(self) -> bool:
        """Whether one more division may help."""
        return self.divisions < MAX_DIVISIONS

    def is_part(self, flush: int) -> bool:
        """Whether a payload is part of another one, or all payloads fail."""
        return self.divisions > 0 or flush == self._divided_flush

    def has_accepted_part(self, flush: int) -> bool:
        """Whether the destination has accepted another part of the payload of a flush."""
        return flush == self._accepted_flush

    def note_rejection(self) -> bool:
        """Count a rejection; returns whether it may concern single payloads only."""
        self._rejections += 1
        return self._rejections < self._tolerated

    def note_division(self, flush: int) -> None:
        """Note that a payload was divided."""
        self.divisions += 1
        self._divided_flush, self.is_part_accepted = flush, False

    def note_delivery(self, flush: int) -> None:
        """Note that a payload was delivered."""
        if not self.divisions:
            self._tolerated = self._least_tolerated
        elif self._rejections:
            self._tolerated = min(2 * self._tolerated, MAX_TOLERATED)
        self.divisions = self.tests = self._rejections = 0
        self.is_accepting = True
        if flush == self._divided_flush:
            self._accepted_flush, self.is_part_accepted = flush, True
