"""Rows of views: the summary of one playback as a value, for stores that list playbacks.

A row holds the whole state of a view, so a later row replaces an earlier one: it may be stored
twice. Only its details are those of the events since the previous row: a store keeps those that a
later row lacks. Its numbers come from the playback model
alone, so they agree with the metrics.
"""

from collections.abc import Sequence

import msgspec

from ..events.event_types import Event, Text
from .labeller import label_text
from .outcome import duration_s, outcome, scores
from .playback_state import Mark
from .sources import error_of
from .view import View, ViewDetails, retained_details

MAX_TEXT = 512
"""Characters of a title or an id."""

MAX_VIEW_ID_BYTES = 128
"""Bytes of a view's id; the row of a view with a longer one has the hash of its key instead. It is
the only text that is kept for as long as the view."""

WIDE_CHARACTER_BYTES = 8
"""Bytes of a character of a text that is not ASCII: CPython's widest form, and the UTF-8 that is
cached when the text is encoded."""

MAX_DETAILS_BYTES = 16 * 1024 * 1024
"""Approximate bytes of the details of all views that have changed since the latest flush: 40,000
with ids and titles of usual length."""

DETAILS_BYTES = 112
"""Bytes of the details of a view without their texts."""

TEXT_BYTES = 64
"""Bytes of a text besides its characters."""

MAX_NUMBER = 2**53
"""Largest number of a row: players send any."""


class ViewRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The summary of one view. Times are ms since the epoch, durations are in ms.

    Organisation, view, video and player identify it. Members up to ``content_type`` are texts, with
    the labels as governance admits them.

    Attributes:
        updated_at: Time of the flush.
        began_at: Its earliest event, by the client's clock.
        asked_at: When the viewer, or autoplay, first asked to play.
        shown_at: When the first frame was shown.
        last_seen: Arrival of its latest event.
        state: The state of the playback by its latest event that was applied.
        outcome: How it ended; None while it may go on.
        startup_ms: Start-up time; None if it is unknown.
        waited_ms: Time spent waiting for a first frame.
        played_ms: Media time played.
        watch_ms: Time of playing and rebuffering.
        bitrate_avg: Mean bit rate by playing time, bit/s.
        furthest_ms: Furthest position in the video.
        score: Its score, from 0 to 100.
    """

    org_id: str
    view_id: str
    video_id: str
    player: str
    session_id: str | None
    viewer_id: str | None
    title: str | None
    error_family: str | None
    error_code: str | None
    player_id: str | None
    env: str | None
    app_name: str | None
    app_version: str | None
    device_category: str | None
    os_family: str | None
    browser_family: str | None
    player_name: str | None
    network_country: str | None
    content_type: str | None
    updated_at: int
    began_at: int
    asked_at: int | None
    shown_at: int | None
    last_seen: int
    state: str
    outcome: str | None
    is_live: bool
    startup_ms: int | None
    waited_ms: int
    played_ms: int
    watch_ms: int
    paused_ms: int
    pauses: int
    rebuffers: int
    rebuffer_ms: int
    seeks: int
    bitrate_avg: int | None
    bitrate_last: int | None
    upshifts: int
    downshifts: int
    frames_dropped: int
    errors: int
    furthest_ms: int
    duration_ms: int | None
    score: float | None


IDENTITY = ("org_id", "view_id", "video_id", "player")
"""Members that identify a view; a missing video or player is ""."""

LABELS = (
    *("player_id", "env", "app_name", "app_version", "device_category", "os_family"),
    *("browser_family", "player_name", "network_country", "content_type"),
)
"""Members that are labels of the view's metrics."""

DETAILS = ("session_id", "viewer_id", "title", "error_family", "error_code")
"""Members that come from the events themselves."""


class ChangedViews:
    """The views that have changed since the latest flush.

    The details of a view are kept until its row is made: a store keeps what an earlier row says.
    When all details together reach ``MAX_DETAILS_BYTES``, those of further events are left out of
    the row; later events repeat most of them. Views seen once may use half of it, so invented ones
    take nothing from the others.
    """

    def __init__(self) -> None:
        self._views: dict[View, None] = {}
        self._bytes = 0

    def add_events(self, view: View, events: Sequence[Event]) -> None:
        """Notes that events of a view were applied, and keeps their details."""
        self._views[view] = None
        details = _details(view, events)
        if details is view.details:
            return
        added = _size(details) - _size(view.details)
        if self._bytes + added <= MAX_DETAILS_BYTES // (2 if view.is_newcomer else 1):
            self._bytes += added
            view.details = details
        elif view.details is None:
            view.details = retained_details(details)

    def add(self, view: View) -> None:
        """Notes that time has changed a view."""
        self._views[view] = None

    def drain(self) -> list[View]:
        """Removes and returns the views."""
        views, self._views = self._views, {}
        self._bytes = 0
        return list(views)


def row_of(view: View, now: int) -> ViewRow | None:
    """Returns the row of a view; None if play was never requested.

    Args:
        view: The view.
        now: Current time in ms.
    """
    playback = view.playback
    how = outcome(playback)
    if how is None:
        return None
    has_ended, duration = playback.has(Mark.OBSERVED), duration_s(playback)
    key, details, labels = view.key, view.details or ViewDetails(), dict(view.labels)
    began = view.last_seen if playback.first_at is None else playback.first_at
    return ViewRow(
        key.org_id,
        details.view_id or key.view_id,
        key.video or "",
        key.player or "",
        details.session_id or None,
        details.viewer_id or None,
        details.title,
        details.error_family,
        details.error_code,
        labels.get("player_id"),
        labels.get("env"),
        labels.get("app_name"),
        labels.get("app_version"),
        labels.get("device_category"),
        labels.get("os_family"),
        labels.get("browser_family"),
        labels.get("player_name"),
        labels.get("network_country"),
        labels.get("content_type"),
        now,
        _bounded(began),
        _whole(playback.asked_at),
        _whole(playback.shown_at),
        view.last_seen,
        playback.state.name.lower(),
        how if has_ended else None,
        playback.has(Mark.LIVE),
        None if playback.startup_s is None else _ms(playback.startup_s),
        _ms(playback.starting_s + playback.start_s),
        _ms(playback.media_s),
        _ms(playback.playing_s + playback.rebuffering_s),
        _ms(playback.paused_s),
        playback.pauses,
        playback.rebuffers,
        _ms(playback.rebuffering_s),
        playback.seeks,
        _bounded(playback.bits / playback.bits_s) if playback.bits_s else None,
        _whole(playback.bps),
        playback.upshifts,
        playback.downshifts,
        _bounded(playback.frames_dropped),
        playback.errors,
        _ms(playback.furthest),
        None if duration is None else _ms(duration),
        scores(playback, how).get("all") if has_ended else None,
    )


def _details(view: View, events: Sequence[Event]) -> ViewDetails:
    known, newest = view.details, events[-1]
    title = None if newest.video is None else row_text(newest.video.title)
    family = code = None
    for event in events:
        if (error := error_of(event)) is not None:
            family, code = map(row_text, error)
    if known is not None:
        title = title or known.title
        if code is None:
            family, code = known.error_family, known.error_code
    view_id = row_text(newest.view_id) or ""
    if view_id == view.key.view_id or _characters_size(view_id) > MAX_VIEW_ID_BYTES:
        view_id = ""
    details = ViewDetails(
        row_text(newest.session_id) or "",
        row_text(newest.viewer_id) or "",
        title,
        family,
        code,
        view_id,
    )
    return known if details == known and known is not None else details


def _size(details: ViewDetails | None) -> int:
    """Approximate bytes of details."""
    if details is None:
        return 0
    texts = filter(None, msgspec.structs.astuple(details))
    return DETAILS_BYTES + sum(TEXT_BYTES + _characters_size(text) for text in texts)


def _characters_size(text: str) -> int:
    return len(text) * (1 if text.isascii() else WIDE_CHARACTER_BYTES)


def row_text(value: Text) -> str | None:
    """Return a text as a row has it: cut; None if it is empty."""
    text = label_text(value)
    return text[:MAX_TEXT] or None


def _ms(seconds: float) -> int:
    return _bounded(seconds * 1000)


def _whole(value: float | None) -> int | None:
    return None if value is None else _bounded(value)


def _bounded(value: float) -> int:
    # False for what is not a number, too.
    return round(value) if -MAX_NUMBER < value < MAX_NUMBER else MAX_NUMBER
