"""The state of one view: one playback of one video.

A worker may hold a million views, so every byte counts: views share equal values, and rarely used
members are created on demand.
"""

from hashlib import blake2b
from typing import Self

import msgspec

from ..events.cmcd_record import CmcdEvent
from ..events.event_types import Event
from ..metrics.series import Labels
from .cmcd_history import CmcdHistory
from .playback_state import Playback


class ViewKey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The identity of a view.

    The SDK keeps one view_id over several videos of a page, each with its own player adapter and
    totals, so video and player are part of it.

    A struct, not a tuple: on each new tuple key the garbage collector would traverse the whole
    dictionary, which may hold a million, and a tuple is half as large again.
    """

    org_id: str
    view_id: str
    video: str | None
    player: str | None


NO_VIEW = "unknown"
"""The SDK's view_id for events after the end of its session: they belong to no view."""


CMCD_PLAYER = "cmcd"
"""The player in the identity of all views that CMCD reports."""

MAX_KEY_TEXT = 40
"""Characters of a text in a key: the ids of SDKs and nearly all others are shorter, and ASCII. Any
other text is replaced by a hash, so that the memory of a view has a bound."""


def view_key(event: Event) -> ViewKey:
    video, player = event.video, event.player
    video_id = None if video is None or video.id is None else key_text(str(video.id))
    if isinstance(event, CmcdEvent):
        # The player's name may follow from a key that its first records lack.
        name: str | None = CMCD_PLAYER
    else:
        name = None if player is None or player.name is None else key_text(str(player.name))
    return ViewKey(key_text(event.org_id), key_text(event.view_id), video_id, name)


def key_text(text: str) -> str:
    """Returns a text as keys hold it: itself, or its hash if it is long."""
    if len(text) <= MAX_KEY_TEXT and text.isascii():
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class ViewDetails(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the events of a view say about it that its labels do not; for its next row.

    Attributes:
        session_id: The visit.
        viewer_id: The viewer.
        title: Title of the video.
        error_family: Family of the latest error.
        error_code: Code of the latest error.
        view_id: The view's id, if its key has a hash instead of it and it is not too long for
            rows; else "".
    """

    session_id: str = ""
    viewer_id: str = ""
    title: str | None = None
    error_family: str | None = None
    error_code: str | None = None
    view_id: str = ""


def retained_details(details: ViewDetails | None) -> ViewDetails | None:
    """Returns what must outlive a row: the id, since later rows of the view need it.

    The store keeps the other details of earlier rows.
    """
    if details is None or not details.view_id:
        return None
    return ViewDetails(view_id=details.view_id)


class ViewState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A view in a snapshot: its attributes, without the labels, which the snapshot numbers."""

    key: ViewKey
    last_seen: int
    playback: Playback
    log_position: int = 0
    entries_applied: int = 0
    cmcd: CmcdHistory | None = None
    details: ViewDetails | None = None


class View(msgspec.Struct, gc=False, eq=False):
    """The state of one view.

    Views are in no reference cycle, so the garbage collector ignores them: traversing a million
    would pause the process.

    Attributes:
        labels: Base labels of the latest event.
        playback: The state of its playback.
        last_seen: Arrival of the latest event, ms.
        log_position: Entries of its shared log applied so far (``core/cluster/view_log``).
        entries_applied: The same, including entries of logs that the store has lost.
        is_concurrent: Whether it counts as playing until it falls silent.
        early_expiry: Second for which its early end is scheduled; 0 if none is.
        cmcd: Its CMCD records so far; None without any.
        details: For its next row, if rows of views are stored.
        is_newcomer: Whether it has not come back since it was first seen (``view_table``).
    """

    key: ViewKey
    labels: Labels
    playback: Playback = msgspec.field(default_factory=Playback)
    last_seen: int = 0
    log_position: int = 0
    entries_applied: int = 0
    is_concurrent: bool = False
    early_expiry: int = 0
    cmcd: CmcdHistory | None = None
    details: ViewDetails | None = None
    is_newcomer: bool = False

    @classmethod
    def from_state(cls, state: ViewState, labels: Labels) -> Self:
        """Restores a view of a snapshot."""
        return cls(
            state.key,
            labels,
            state.playback,
            state.last_seen,
            state.log_position,
            state.entries_applied,
            cmcd=state.cmcd,
            details=retained_details(state.details),
        )

    def load_state(self, state: ViewState) -> None:
        """Adopts the state that another worker has of the view."""
        self.playback = state.playback
        self.entries_applied = state.entries_applied
        self.cmcd = state.cmcd


def capture_view_state(view: View) -> tuple[object, ...]:
    """Captures the state of a view as a tuple that is encoded like a ``ViewState``.

    A tuple, because a flush may write 100,000 views. It shares mutable members with the view, so
    it must be encoded at once. The flush writes the rows with their details besides.
    """
    return (
        view.key,
        view.last_seen,
        view.playback,
        view.log_position,
        view.entries_applied,
        view.cmcd,
        retained_details(view.details),
    )
