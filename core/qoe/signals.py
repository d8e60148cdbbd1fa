"""Signals: what a source says about a playback, in terms that no source owns.

A source (an SDK generation and player, or CMCD) is a table that turns its events into signals. The
playback model (``playback``) consumes signals and does not know which source sent them. A new
player is a new table.

Each event of a view gives at least one signal, if only to show that the view is still there: an
interval between two signals counts for at most 90 s. What a source knows only afterwards (when a
seek began, of which it reports the end) is a signal of its own, with its own time.
"""

from enum import IntEnum
from typing import Final

import msgspec

Number = int | float


class SignalKind(IntEnum):
    """What a signal says about the state of the playback.

    The order of the members is the order of signals with the same time: a stall that ends when
    playback resumes has ended before, a pause at the end of the video comes before the end.
    """

    LOADED = 1
    """The player loads the video, and play is not requested: playback of an earlier one is over.
    Running totals may restart."""
    READY = 2
    """A player is there; the state stays what it is. Running totals may restart."""
    PLAY_REQUESTED = 3
    """A viewer, or autoplay, asked to play: the start, or the resumption of a pause. ``value`` is 0
    if it ends the wait of a player that does not pause."""
    SEEK_BEGIN = 4
    """A seek begins: ``target`` is its new position, if known."""
    STALL_BEGIN = 5
    """The player waits for data; the model distinguishes start-up, seek and rebuffering."""
    PLAY_WAIT = 6
    """The same of a player that waits only if it was asked to play: the first is the request."""
    SEEK_END = 7
    """A seek is over: ``target`` is its new position, and ``value`` its latency in s, if known."""
    STALL_END = 8
    """The player waits no longer: ``value`` is the duration in s as the player measured it."""
    PLAYING = 9
    """The picture moves: the first one is the first frame, and later ones end a stall or a seek."""
    PROGRESS = 10
    """A periodic report of a player that is asked to play, whether it stalls or not."""
    REPORT = 11
    """A report that says nothing about the state."""
    ACTIVE = 12
    """A report of a source that does not report states: the outcome is unknown unless another
    signal implies one."""
    PAUSED = 13
    ENDED = 14
    """The end of the video was reached: ``value`` is the fraction reached as the player says."""
    ERROR = 15
    """An error that may be fatal: it is if nothing is played after it, and the view ends within
    10 s or ``value`` is 1 (a critical one)."""
    FATAL_ERROR = 16
    """An error that is fatal unless playback makes progress after it: ``value`` is 0 if it follows
    from the state, without a report of an error."""
    HIDDEN = 17
    """The page was hidden, or closed."""
    VISIBLE = 18
    LEFT = 19
    """The viewer left, or the player was detached, or shows nothing."""


class Rendition(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The rendition of the picture.

    Attributes:
        bps: Bit rate, bit/s.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        upscale: How much larger the player is than the video, less 1; None if unknown.
        downscale: 1 less how much smaller it is; None if unknown.
    """

    bps: Number | None = None
    width: Number | None = None
    height: Number | None = None
    fps: Number | None = None
    upscale: Number | None = None
    downscale: Number | None = None


class Switch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A change of the rendition, as reported.

    Attributes:
        is_audio: Whether the sound changed, not the picture.
        previous_bps: The bit rate before, if reported.
        trigger: What caused it, if reported.
    """

    is_audio: bool = False
    previous_bps: Number | None = None
    trigger: str | None = None


class Measures(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Durations of the start in s as the source measured them. The first of each counts.

    Attributes:
        page_load: Navigation to the page's load event.
        player_startup: Navigation to the player's readiness.
        can_play: Navigation to the first ``canplay``.
        play: Load to play request; ``video_startup_time`` of the SDKs.
        first_frame: Play request to first frame (CMCD ``msd``); preferred to the model's own.
        first_frame_source: Label of ``first_frame``.
        load: Load to first frame, the viewer's hesitation included (CMCD ``msd`` of Shaka).
        is_startup_documented: Whether ``play`` is the start-up time itself: a hand-written client
            follows the documentation, which says so.
    """

    page_load: Number | None = None
    player_startup: Number | None = None
    can_play: Number | None = None
    play: Number | None = None
    first_frame: Number | None = None
    first_frame_source: str = "cmcd"
    is_startup_documented: bool = False
    load: Number | None = None


class Signal(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one event says about its view.

    Attributes:
        at: Client time, ms since the epoch.
        kind: What it says about the state.
        position: Media position, s.
        value: See ``SignalKind``.
        target: Position to which a seek went, s.
        played: Running total of the media time played, s.
        dropped: Running total of the frames dropped.
        quartile: A quartile that was reached: 25, 50, 75 or 100.
        rate: Playback rate from now on.
        duration: Duration of the video, s or ms: pages send either.
        rendition: The rendition from now on; members that are None stay as they are.
        switch: Set if the source reports a change of the rendition.
        measures: Durations of the start.
        is_live: Whether the video is live: it has no completion.
        reports_stalls: Whether the source reports each wait of the player: a play request that no
            wait follows shows the first frame at once.
        reports_totals: Whether the source reports running totals of the media time played; without
            them it follows from the states.
        generation: The SDK generation that the event shows, 0 if either may have sent it.
        rank: Its place among the signals of its batch with the same time, number and kind.
        number: Its number by the source, in the order of sending; 0 of one without numbers.
    """

    at: Number
    kind: SignalKind
    position: Number | None = None
    value: Number | None = None
    target: Number | None = None
    played: Number | None = None
    dropped: Number | None = None
    quartile: int | None = None
    rate: Number | None = None
    duration: Number | None = None
    rendition: Rendition | None = None
    switch: Switch | None = None
    measures: Measures | None = None
    is_live: bool = False
    reports_stalls: bool = False
    reports_totals: bool = True
    generation: int = 0
    rank: int = 0
    number: int = 0


REQUESTS: Final = frozenset({SignalKind.PLAY_REQUESTED, SignalKind.PLAYING, SignalKind.PLAY_WAIT})
"""Kinds that imply a play request."""

SEEKS: Final = frozenset({SignalKind.SEEK_BEGIN, SignalKind.SEEK_END})
"""Kinds of a seek."""
