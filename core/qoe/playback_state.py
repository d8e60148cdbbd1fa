"""The state of one playback, as the model keeps it and as snapshots contain it.

A worker may hold a million of them, so rare members are created on demand, and none is traversed by
the garbage collector.
"""

from enum import IntEnum
from typing import Final

import msgspec

from .signals import Measures, Number, Signal, SignalKind
from .totals import RunningTotal

EVIDENCE: Final = 90_000
"""ms between two signals that count for a state."""

EVIDENCE_S: Final = EVIDENCE / 1000
"""The same in s: a longer duration that a player has measured includes sleep."""

_LAST_OF_ITS_TIME: Final = (0, int(max(SignalKind)))


class State(IntEnum):
    """Where a playback is. Time counts as watched in PLAYING and REBUFFERING only."""

    NEW = 0
    """Not known yet: the view may have been in any state before it was first seen."""
    LOADED = 1
    STARTING = 2
    """Asked to play, and nothing shown yet."""
    PLAYING = 3
    REBUFFERING = 4
    SEEKING = 5
    PAUSED = 6
    ENDED = 7
    FAILED = 8
    LEFT = 9


class Mark:
    """Facts that become true once in the life of a view, as bits."""

    LOADED = 1
    REQUESTED = 2
    """A viewer asked to play."""
    BEGAN = 4
    """The beginning of the view was seen: totals count from the start."""
    SHOWN = 8
    """A frame was shown."""
    ENDED = 16
    """The end was reached."""
    ACTIVE = 32
    """There was playback by a source that does not tell states."""
    REPORTED_STARTUP = 64
    AGGREGATE_STARTUP = 128
    OBSERVED = 256
    """Its outcome was observed."""
    QUARTILES = 512  # and the three bits above it
    WITHOUT_TOTALS = 8192
    """The media time played follows from the states."""
    LIVE = 16384
    REPORTS_STALLS = 32768
    """The player reports each wait."""
    JOINED = 65536
    """It was counted before, or elsewhere: its first total is a baseline."""


class Stall(msgspec.Struct, array_like=True, gc=False, eq=False):
    """An open stall.

    Attributes:
        cause: "startup", "seek", "rebuffer" or "paused".
        position: Where it began, s, if known.
        seconds: Its counted time so far.
        is_counted: Whether it was observed; a stall in which the picture moves is none.
    """

    cause: str
    position: Number | None
    seconds: Number = 0.0
    is_counted: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether it counts once no later signal can explain it. A wait in a pause counts when it
        ends: it may be the wait of the resumption, which is rebuffering, however long after."""
        return not self.is_counted and self.cause != "paused"


class Playback(msgspec.Struct, array_like=True, gc=False, eq=False):
    """The state of one playback. Times are client times in ms, durations are in s.

    Attributes:
        marks: Bits of ``Mark``.
        generation: SDK generation, 0 while unknown.
        first_at: Earliest signal.
        began_at: Earliest one that shows a beginning.
        applied_until: Latest signal applied.
        lead: The most by which client time was ahead of arrival.
        jump: A jump of the client's clock that no interval has accounted for yet.
        window: Signals that wait for earlier ones, in order, and their times of arrival.
        is_playing: Whether it plays by its newest signal, received at ``playing_at``.
        is_hidden: Whether the newest signal says that the page was hidden.
        is_over: Whether it says that the playback is over.
        requested_at: When the current start began.
        has_frame: Whether the current playback has shown a frame.
        start_s: Counted time in the current start so far.
        waits: Whether the player waits for data.
        seek_is_open: Whether the end of a seek is to come.
        seek_at: When the seek began whose end follows from the states.
        stall_was_refuted: Whether the next end of a stall belongs to one that was none.
        position: Latest media position, s, and its time.
        furthest: Furthest position, s.
        unreported_s: Media time played since the latest running total.
        paused_at: A pause that an end may still explain.
        stopped_at: When it last stopped playing.
        error_at: An error without progress after it.
        error_is_fatal: Whether it is fatal however long the view lasts.
        asked_at: When the first start began.
        shown_at: When the first frame was shown.
        startup_s: The start-up time that was observed.
        paused_s: Time in pauses, however long they were: a paused player reports nothing.
        media_s: Media time played.
        was_hidden: Whether the latest signal applied says that the page was hidden.
        applied_order: Number and kind of the latest signal applied: of its time others may follow.
        clock_behind: ms by which the client's clock was set back during the view.
    """

    state: State = State.NEW
    marks: int = 0
    generation: int = 0
    first_at: Number | None = None
    began_at: Number | None = None
    applied_until: Number | None = None
    lead: Number | None = None
    jump: Number = 0
    window: tuple[Signal, ...] = ()
    arrivals: tuple[int, ...] = ()
    is_playing: bool = False
    is_hidden: bool = False
    is_over: bool = False
    playing_at: Number = 0
    # start
    requested_at: Number | None = None
    has_frame: bool = False
    request_position: Number | None = None
    start_s: Number = 0.0
    measures: Measures | None = None
    # stalls and seeks
    waits: bool = False
    seek_is_open: bool = False
    stall_was_refuted: bool = False
    stall: Stall | None = None
    # position
    position: Number | None = None
    position_at: Number = 0
    furthest: Number = 0
    rate: Number = 1
    duration: Number | None = None
    # totals
    restarts: tuple[Number, ...] = ()
    played: RunningTotal | None = None
    dropped: RunningTotal | None = None
    dropped_waiting: Number = 0
    unreported_s: Number = 0.0
    # pauses and errors
    paused_at: Number | None = None
    stopped_at: Number = 0
    error_at: Number | None = None
    error_is_fatal: bool = False
    # rendition
    bps: Number | None = None
    audio_bps: Number | None = None
    height: Number | None = None
    fps: Number | None = None
    upscale: Number | None = None
    downscale: Number | None = None
    # sums of the view
    starting_s: Number = 0.0
    playing_s: Number = 0.0
    rebuffering_s: Number = 0.0
    rebuffers: int = 0
    scale_s: Number = 0.0
    upscale_s: Number = 0.0
    max_upscale: Number = 0.0
    seek_at: Number | None = None
    asked_at: Number | None = None
    shown_at: Number | None = None
    startup_s: Number | None = None
    paused_s: Number = 0.0
    media_s: Number = 0.0
    bits: Number = 0.0
    bits_s: Number = 0.0
    frames_dropped: Number = 0
    pauses: int = 0
    seeks: int = 0
    upshifts: int = 0
    downshifts: int = 0
    errors: int = 0
    was_hidden: bool = False
    clock_behind: Number = 0
    applied_order: tuple[int, int] = _LAST_OF_ITS_TIME

    def has(self, mark: int) -> bool:
        return bool(self.marks & mark)

    def clear_error(self) -> None:
        """Notes that playback has moved on: no earlier error was fatal."""
        self.error_at, self.error_is_fatal = None, False

    @property
    def quartile(self) -> int:
        """The highest quartile reached in percent, 0 if none."""
        reached = self.marks // Mark.QUARTILES & 15
        return 25 * reached.bit_length()
