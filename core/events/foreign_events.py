"""Events of organisations that a key may not write: rejected one by one, like invalid ones."""

from collections.abc import Collection

from .decoder import DecodedBatch
from .event_types import Event
from .faults import Fault

REASON = "org"
"""Their reason, in faults and in ``openqoe_worker_events_rejected_total``."""

ERROR = "is none of this API key's organisations"


def reject_foreign_events(decoded: DecodedBatch, orgs: Collection[str]) -> DecodedBatch:
    """Return the batch with the events of other organisations rejected.

    Args:
        decoded: The batch.
        orgs: The organisations that may be written.
    """
    if all(event.org_id in orgs for event, _ in decoded.events):
        return decoded
    faulty = {fault.index for fault in decoded.faults}
    # Valid events are in order, and each of the others has a fault with its index.
    indexes = (index for index in range(decoded.event_count) if index not in faulty)
    events: list[tuple[Event, bytes]] = []
    faults = list(decoded.faults)
    for index, pair in zip(indexes, decoded.events, strict=True):
        if pair[0].org_id in orgs:
            events.append(pair)
        else:
            faults.append(Fault(index, "org_id", ERROR, REASON))
    faults.sort(key=lambda fault: -1 if fault.index is None else fault.index)
    return DecodedBatch(decoded.event_count, tuple(events), tuple(faults), decoded.ignored_fields)
