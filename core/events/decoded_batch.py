"""The result of decoding a request body, whatever its format."""

import msgspec

from .event_types import Event
from .faults import Fault


class DecodedBatch(msgspec.Struct, frozen=True, gc=False):
    """A decoded request body.

    Attributes:
        event_count: Number of events in the body.
        events: The valid ones in order, each with its log line: for the SDK's events their JSON as
            received, compacted. An empty line is not logged.
        faults: The faults of the others in order.
        ignored_fields: Paths of optional fields that were ignored because of their type.
        clock_corrected: Whether its times were shifted, because they come from a wrong clock.
    """

    event_count: int
    events: tuple[tuple[Event, bytes], ...]
    faults: tuple[Fault, ...]
    ignored_fields: tuple[str, ...] = ()
    clock_corrected: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to apply or to count."""
        return not (self.events or self.faults or self.ignored_fields or self.clock_corrected)
