"""Where an event comes from: what the events that one player sends have in common.

A player's batch tells who and where it is with each event. Whatever follows from that is worked
out for the first of them, and found for the others by comparing, which costs a third.
"""

import msgspec

from ..events.event_types import Event
from .labeller import LabelSet
from .view import ViewKey


class EventContext(msgspec.Struct, frozen=True, gc=False):
    """What follows from the identity and the context of an event.

    Attributes:
        event: The event.
        labels: Its labels.
        view: The key of its view; None if it belongs to none.
        metadata: The structured metadata of its log entry, encoded.
    """

    event: Event
    labels: LabelSet
    view: ViewKey | None
    metadata: bytes

    def applies_to(self, event: Event) -> bool:
        """Whether another event has the same context, under the same country of a request."""
        first = self.event
        return (
            event.view_id == first.view_id
            and event.session_id == first.session_id
            and event.viewer_id == first.viewer_id
            and event.org_id == first.org_id
            and event.player_id == first.player_id
            and event.video == first.video
            and event.player == first.player
            and event.device == first.device
            and event.os == first.os
            and event.browser == first.browser
            and event.network == first.network
            and event.env == first.env
            and event.app_name == first.app_name
            and event.app_version == first.app_version
            and event.cmcd == first.cmcd
        )
