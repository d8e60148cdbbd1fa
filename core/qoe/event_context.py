"""The context of an event: labels, view and metadata that events of one player have in common.

Each event of a batch repeats who and where its player is. The context is derived from the first
one, and matched to the others by comparison, at a third of the cost.
"""

import msgspec

from ..events.event_types import Event
from .labeller import LabelSet
from .view import ViewKey


class EventContext(msgspec.Struct, frozen=True, gc=False):
    """Values derived from the identity and the environment of an event.

    Attributes:
        event: The event.
        labels: Its labels.
        view: The key of its view; None if it belongs to none.
        metadata: The encoded structured metadata of its log entry.
    """

    event: Event
    labels: LabelSet
    view: ViewKey | None
    metadata: bytes

    def applies_to(self, event: Event) -> bool:
        """Whether another event of the same request has the same context."""
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
