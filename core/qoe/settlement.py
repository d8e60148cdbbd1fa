"""The state machine of a playback: signals in order, and the time between them."""

from collections.abc import Callable
from typing import Final

from . import outcome
from .observation import Observation
from .observation_builder import ObservationBuilder
from .playback_state import EVIDENCE, Mark, Stall, State
from .rendition_changes import note_rendition
from .signals import SEEKS, Signal, SignalKind
from .stall_causes import (
    SEEK_TARGET_TOLERANCE,
    START_GRACE,
    is_part_of_seek,
    seek_target,
    waits_at_once,
)
from .startup import START_TOLERANCE, first_frame_at, note_measures, observe_startup
from .totals import CLOCK_TOLERANCE
from .view import View
from .vocabulary import ObservationKind

POSITION_NOISE: Final = 0.1
"""s by which a position changes in a stall."""

MIN_SILENT_STALL: Final = 0.3
"""s above which a stall that movement ended was one; below it the picture never stopped."""

PAUSE_BEFORE_END: Final = 50
"""ms before the end within which a pause comes from the player, not from the viewer."""

HEARTBEAT_LAG: Final = 1_000
"""ms after a pause within which a periodic report may have been made before it."""

MAX_RATE: Final = 2.0
"""s of media that may pass in one s without a seek, if the playback rate is not reported."""

ROUNDING: Final = 0.05
"""s by which a reported duration may exceed the time between its events, which are rounded."""

# The members by name: a look-up in the enum takes as long as two calls in Python 3.11.
NEW, LOADED, STARTING, PLAYING, REBUFFERING, SEEKING, PAUSED, ENDED, FAILED, LEFT = State
_REPORT: Final = SignalKind.REPORT

_SEEKABLE: Final = frozenset({PLAYING, REBUFFERING, PAUSED})
_IDLE: Final = frozenset({PAUSED, ENDED, FAILED, LEFT})


class Settlement:
    """Signals of one view being applied, and what follows from them."""

    __slots__ = ("_following", "_moved", "_out", "_playback", "_seconds", "_view", "_window")

    def __init__(self, view: View) -> None:
        self._view = view
        self._playback = view.playback
        self._window = view.playback.window
        self._following = 0  # index of the signal after the one at hand
        self._out = ObservationBuilder(view)
        self._seconds = self._moved = 0.0  # up to the signal at hand

    def observations(self) -> list[Observation]:
        """Returns what was observed."""
        return self._out.build()

    # One signal

    def apply(self, number: int) -> None:
        """Applies the signal with this number in the window."""
        signal, self._following = self._window[number], number + 1
        playback, kind = self._playback, signal.kind
        self._seconds = self._elapsed(signal)
        self._moved = self._movement(signal)
        if playback.paused_at is not None:
            self._explain_pause(signal)
        if signal.measures is not None:
            note_measures(playback, self._out, signal.measures, kind)
        if (
            kind is _REPORT
            and playback.state <= LOADED
            and (signal.played or (signal.quartile and playback.state is NEW))
        ):
            self._made_progress(signal)
        self._spend(signal)
        stall = playback.stall
        if (
            stall is not None
            and not stall.is_counted
            and stall.cause != "paused"
            and signal.position is not None
            and stall.seconds >= MIN_SILENT_STALL
        ):
            self._count_stall(stall)
        if kind is not _REPORT:  # half of all
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, signal)
        self._note(signal)
        if playback.state is ENDED and kind is SignalKind.ENDED:
            self._out.add_observations(outcome.end_observations(self._view, signal.value))

    def _elapsed(self, signal: Signal) -> float:
        """The seconds since the previous signal that count."""
        playback, at = self._playback, signal.at
        previous, playback.settled_at = playback.settled_at, at
        if previous is None:
            return 0.0
        elapsed = at - previous
        if playback.was_hidden:
            playback.was_hidden = False
            if signal.kind is SignalKind.LOADED:
                return 0.0  # the page was closed, and is loaded again
        if playback.jump and elapsed >= playback.jump - CLOCK_TOLERANCE:
            elapsed = max(0, elapsed - playback.jump)
            playback.jump = 0
        if playback.state is PAUSED:
            playback.paused_s += elapsed / 1000
        return (elapsed if elapsed < EVIDENCE else EVIDENCE) / 1000

    def _movement(self, signal: Signal) -> float:
        """The media time by which the position has moved as playback moves it, else 0."""
        playback = self._playback
        if signal.position is None or playback.position is None or signal.kind in SEEKS:
            return 0.0
        moved = signal.position - playback.position
        return moved if POSITION_NOISE < moved <= self._plausible_movement(signal.at) else 0.0

    def _plausible_movement(self, at: float) -> float:
        """The most by which playback may have moved the position up to a time, s."""
        playback = self._playback
        elapsed = (at - playback.position_at) / 1000
        return elapsed * max(MAX_RATE, playback.rate) + START_TOLERANCE

    def _has_jumped(self, signal: Signal) -> bool:
        playback = self._playback
        if signal.position is None or playback.position is None:
            return False
        moved = signal.position - playback.position
        return not -START_TOLERANCE <= moved <= self._plausible_movement(signal.at)

    def _stands_still(self, signal: Signal) -> bool:
        """Whether the picture has not moved: what an error leaves behind, unless it is harmless."""
        position, before = signal.position, self._playback.position
        if position is None or before is None or self._seconds <= POSITION_NOISE:
            return False
        return abs(position - before) <= POSITION_NOISE

    def _spend(self, signal: Signal) -> None:
        """Attributes the time up to a signal to the state that the playback was in."""
        playback, seconds, moved = self._playback, self._seconds, self._moved
        state = playback.state
        if state is PLAYING:
            if playback.error_at is None or not self._stands_still(signal):
                self._out.add_playing(seconds)
            if moved:
                playback.unreported_s += moved
                if playback.error_at is not None:
                    self._progress()
        elif state is REBUFFERING:
            self._spend_waiting()
        elif state is SEEKING:
            if moved and not playback.seek_is_open:
                self._spend_waiting()
            elif playback.stall is not None:
                playback.stall.seconds += seconds
        elif state is STARTING:
            playback.start_s += seconds
            if playback.stall is not None:
                playback.stall.seconds += seconds
            shown_at = first_frame_at(playback, signal, moved)
            if shown_at is not None:
                self._show_frame_of(signal, shown_at)
                playback.unreported_s += moved
        elif state is LEFT and moved and playback.has_frame:
            # What is left of the view arrives after its time-out.
            self._play_on()
        elif playback.stall is not None:
            playback.stall.seconds += seconds
        if signal.played is not None:
            playback.unreported_s = 0.0

    def _spend_waiting(self) -> None:
        """Attributes time in a stall or a seek, the last of which was played if it moved."""
        playback, stall = self._playback, self._playback.stall
        seconds, moved = self._seconds, self._moved
        played = min(seconds, moved / playback.rate) if moved else 0.0
        waited = seconds - played
        if playback.state is REBUFFERING:
            playback.rebuffering_s += waited
            self._out.add_rebuffering(waited)
        if stall is not None:
            stall.seconds += waited
        if not moved:
            return
        if (
            stall is not None
            and stall.cause == "rebuffer"
            and not stall.is_counted
            and stall.seconds < MIN_SILENT_STALL
        ):
            # The picture never stopped.
            playback.rebuffering_s -= stall.seconds
            playback.playing_s += stall.seconds
            playback.stall = None
        self._close_stall()
        playback.stall_was_refuted = True
        playback.waits = False
        playback.state = PLAYING
        playback.unreported_s += moved
        self._out.add_playing(played)
        self._progress()

    def _play_on(self) -> None:
        """Goes on playing without a request to: the position has moved."""
        self._out.add_playing(min(self._seconds, self._moved / self._playback.rate))
        self._playback.unreported_s += self._moved
        self._playback.state = PLAYING
        self._progress()

    def _progress(self) -> None:
        """Playback has moved on: no earlier error was fatal."""
        self._playback.error_at = None
        self._playback.error_is_fatal = False

    # Start

    def _begin_start(self, signal: Signal) -> None:
        playback = self._playback
        playback.state = STARTING
        playback.requested_at = signal.at
        if playback.asked_at is None:
            playback.asked_at = signal.at
        playback.request_position = signal.position
        playback.start_s = 0.0
        if signal.reports_stalls:
            playback.marks |= Mark.REPORTS_STALLS

    def _show_frame_of(self, signal: Signal, shown_at: float) -> None:
        kind = signal.kind
        is_measured = self._playback.waits or signal.reports_stalls or kind is SignalKind.PLAYING
        stall_s = signal.value if kind is SignalKind.STALL_END else None
        self._show_frame(shown_at, is_measured=is_measured, stall_s=stall_s)
        self._playback.stall_was_refuted = kind is SignalKind.STALL_END  # it is accounted for

    def _show_frame(
        self,
        shown_at: float,
        *,
        is_measured: bool,
        reported: float | None = None,
        stall_s: float | None = None,
    ) -> None:
        """Ends the start: the first frame is there.

        Args:
            shown_at: When it was shown, ms.
            is_measured: Whether the wait for it is known.
            reported: The wait as a client reports it that follows the documentation.
            stall_s: Duration of the stall that it ends, as reported.
        """
        playback = self._playback
        assert playback.requested_at is not None, "a start has a request"
        waited = min(max((shown_at - playback.requested_at) / 1000, 0.0), playback.start_s)
        played = playback.start_s - waited
        self._end_start(waited)
        if playback.stall is not None:
            playback.stall.seconds = max(0.0, playback.stall.seconds - played)
            self._close_stall(stall_s)
        playback.state = PLAYING
        playback.has_frame = True
        playback.waits = False
        if not playback.has(Mark.SHOWN):
            playback.marks |= Mark.SHOWN
            playback.shown_at = shown_at
            observe_startup(playback, self._out, reported, is_measured=is_measured)
        self._out.add_playing(played)
        self._progress()

    def _end_start(self, waited: float) -> None:
        self._playback.starting_s += waited
        self._out.add_startup_wait(waited)
        self._playback.start_s = 0.0

    def _play_requested(self, signal: Signal) -> None:
        playback = self._playback
        if playback.state in (NEW, LOADED) or (playback.state in _IDLE and not playback.has_frame):
            self._begin_start(signal)
            measures = signal.measures
            if (
                measures is not None
                and measures.is_startup_documented
                and measures.play is not None
                and not waits_at_once(signal, self._window, self._following)
            ):
                self._show_frame(signal.at, is_measured=False, reported=measures.play)
        elif playback.state in _IDLE:
            if signal.reports_totals or playback.state is PAUSED:
                self._resume(signal)
            else:  # a source of states, which says when it plays again
                self._begin_start(signal)
                playback.has_frame = False
        elif playback.state is REBUFFERING and signal.value is not None:
            self._close_stall()
            playback.waits = False
            playback.state = PLAYING

    def _resume(self, signal: Signal) -> None:
        """Goes on playing, or waiting for the data that were missing at the pause."""
        playback = self._playback
        playback.state = PLAYING
        if not playback.waits:
            return
        for later in self._window[self._following :]:
            if later.at > signal.at + START_GRACE:
                break
            if later.kind is SignalKind.STALL_END or later.kind is SignalKind.PLAYING:
                return
        if playback.seek_is_open:
            playback.state = SEEKING
            playback.stall = Stall("seek", signal.position)
        else:
            playback.state = REBUFFERING
            playback.stall = Stall("rebuffer", signal.position)

    def _resume_in_stall(self) -> bool:
        """Ends a pause without a request to: the wait that began in it was that of the resumption.

        dash.js and CMCD report a request to resume only by the wait for it.
        """
        playback, stall = self._playback, self._playback.stall
        if stall is None or stall.cause != "paused":
            return False
        playback.state = REBUFFERING
        playback.stall = Stall("rebuffer", stall.position, stall.seconds)
        playback.rebuffering_s += stall.seconds
        self._out.add_rebuffering(stall.seconds)
        return True

    # Stalls

    def _stall_begin(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        playback.stall_was_refuted = False
        if state is NEW and signal.position and signal.position >= START_TOLERANCE:
            self._join()
            state = PLAYING
        if state is NEW or state is LOADED:
            if signal.kind is SignalKind.PLAY_WAIT:
                self._begin_start(signal)
            else:
                playback.state = LOADED
            playback.waits = True
            self._open_stall("startup", signal)
        elif state is STARTING:
            playback.waits = True
            self._open_stall("startup", signal)
        elif state is PLAYING:
            playback.waits = True
            if self._has_jumped(signal) or is_part_of_seek(signal, self._window, self._following):
                playback.state = SEEKING
                self._open_stall("seek", signal)
            elif self._is_at_start(signal):
                self._begin_start(signal)
                playback.has_frame = False
                self._open_stall("startup", signal)
            else:
                playback.state = REBUFFERING
                self._open_stall("rebuffer", signal)
        elif state is REBUFFERING:
            if self._has_jumped(signal):
                self._close_stall()
                playback.state = SEEKING
                self._open_stall("seek", signal)
        elif state is SEEKING:
            playback.waits = True
            self._open_stall("seek", signal)
        else:
            playback.waits = True
            self._open_stall("paused", signal)

    def _is_at_start(self, signal: Signal) -> bool:
        """Whether nothing was played since the request but the first frame."""
        playback = self._playback
        if signal.position is None or playback.request_position is None:
            return False
        if playback.played is not None and playback.unreported_s == 0:
            return False
        return abs(signal.position - playback.request_position) < START_TOLERANCE and (
            playback.furthest - playback.request_position < START_TOLERANCE
        )

    def _open_stall(self, cause: str, signal: Signal) -> None:
        if self._playback.stall is None:
            self._playback.stall = Stall(cause, signal.position)

    def _count_stall(self, stall: Stall) -> None:
        stall.is_counted = True
        self._out.observe(ObservationKind.STALL, None, stall.cause)
        if stall.cause == "rebuffer":
            self._playback.rebuffers += 1

    def _close_stall(self, reported: float | None = None) -> None:
        """Observes the open stall, with the duration that the player reports if it fits."""
        playback = self._playback
        stall = playback.stall
        if stall is None:
            return
        playback.stall = None
        if not stall.is_counted:
            self._count_stall(stall)
        seconds = stall.seconds
        if reported is not None and reported <= seconds + ROUNDING:
            if stall.cause == "rebuffer" and reported < seconds:
                playback.rebuffering_s -= seconds - reported
                playback.playing_s += seconds - reported
            seconds = reported
        self._out.observe(ObservationKind.STALL_DURATION, seconds, stall.cause)

    def _stall_end(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        was_refuted, playback.stall_was_refuted = playback.stall_was_refuted, False
        had_stall = playback.stall is not None
        self._close_stall(signal.value)
        playback.waits = False
        if state is REBUFFERING or state is FAILED:
            playback.state = PLAYING
            self._progress()
        elif state is SEEKING:
            if not playback.seek_is_open:
                playback.state = PLAYING
            self._progress()
        elif state is NEW:
            self._join()
        elif state is PLAYING and not had_stall and not was_refuted and signal.value:
            # The begin of the stall was lost.
            lost = min(signal.value, self._seconds)
            if lost > 0:
                playback.playing_s -= lost
                playback.rebuffering_s += lost
                playback.stall = Stall("rebuffer", signal.position, lost)
                self._close_stall()

    # Other transitions

    def _loaded(self, signal: Signal) -> None:
        playback = self._playback
        if playback.state is STARTING or playback.state is LOADED:
            return
        if playback.state is not NEW:
            self._close_stall()
            self._add_unreported()  # a new total may begin
            playback.position = None
        playback.state = LOADED
        playback.has_frame = playback.waits = playback.seek_is_open = False

    def _playing(self, signal: Signal) -> None:
        playback = self._playback
        if playback.seek_at is not None:
            self._end_seek_of_states(signal.at)
        elif playback.state is PAUSED:
            self._resume_in_stall()
        if playback.state is not PLAYING:
            if not playback.has_frame:
                self._begin_start(signal)
                self._show_frame(signal.at, is_measured=True)
            self._close_stall()
            playback.state = PLAYING
        playback.waits = playback.seek_is_open = False
        self._progress()

    def _made_progress(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        if state is NEW:
            self._join()
        elif state is LOADED:
            self._note_request()
            self._begin_start(signal)
            if signal.played:
                playback.state = PLAYING
                playback.has_frame = True
                playback.marks |= Mark.SHOWN
        elif state in _IDLE and playback.has_frame:
            if self._moved:
                self._play_on()
                if signal.played is not None:
                    playback.unreported_s = 0.0
            elif state is PAUSED and signal.at - playback.stopped_at > HEARTBEAT_LAG:
                if not self._resume_in_stall():
                    playback.state = PLAYING

    def _join(self) -> None:
        """Begins to follow a view in mid-play."""
        playback = self._playback
        self._note_request()
        playback.state = PLAYING
        playback.has_frame = True
        playback.marks |= Mark.SHOWN

    def _note_request(self) -> None:
        """A view plays whose request was not seen; it was counted elsewhere if its total says."""
        playback = self._playback
        if not playback.has(Mark.REQUESTED):
            was_loaded = playback.has(Mark.LOADED)
            playback.marks |= Mark.REQUESTED | Mark.LOADED
            if playback.has(Mark.BEGAN) or not playback.has(Mark.JOINED):
                if not was_loaded:
                    self._out.observe(ObservationKind.VIEW_LOADED)
                self._out.observe(ObservationKind.VIEW_STARTED)

    def _seek_begin(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        if state in _SEEKABLE and playback.has(Mark.WITHOUT_TOTALS) and playback.seek_at is None:
            # A source of states, which sends no event of the seek itself.
            playback.seek_at = signal.at
            playback.seeks += 1
            self._out.observe(ObservationKind.SEEK)
        if state is REBUFFERING:
            stall = playback.stall
            if (
                stall is not None
                and stall.position is not None
                and signal.target is not None
                and abs(stall.position - signal.target) <= SEEK_TARGET_TOLERANCE
            ):
                return  # the player's own remedy for the stall
            self._close_stall()
        elif state is not PLAYING and state is not SEEKING:
            return
        playback.state = SEEKING
        playback.seek_is_open = True

    def _end_seek_of_states(self, at: float) -> None:
        """Observes how long a seek took whose end follows from the states."""
        began, self._playback.seek_at = self._playback.seek_at, None
        if began is not None and at - began <= EVIDENCE:
            self._out.observe(ObservationKind.SEEK_LATENCY, (at - began) / 1000)

    def _seek_end(self, signal: Signal) -> None:
        playback = self._playback
        playback.seek_is_open = False
        playback.seeks += 1
        if signal.value is not None:
            self._out.observe(ObservationKind.SEEK_LATENCY, signal.value)
        if playback.state is SEEKING and not playback.waits:
            self._close_stall()
            playback.state = PLAYING
        elif playback.state is REBUFFERING and playback.stall is not None:
            begin, target = playback.stall.position, seek_target(signal)
            if (
                begin is not None
                and target is not None
                and abs(begin - target) > SEEK_TARGET_TOLERANCE
            ):
                self._close_stall()
                playback.state = SEEKING

    def _paused(self, signal: Signal) -> None:
        playback = self._playback
        if playback.seek_at is not None:
            self._end_seek_of_states(signal.at)
        playback.paused_at = signal.at
        if playback.state is NEW and signal.played == 0:
            playback.state = LOADED
        if playback.state not in (LOADED, ENDED, FAILED):
            self._stop(PAUSED)

    def _ended(self, signal: Signal) -> None:
        playback = self._playback
        if signal.position is None and playback.duration and signal.value:
            playback.furthest = max(playback.furthest, playback.duration * signal.value)
        self._stop(ENDED)

    def _failed(self, signal: Signal) -> None:
        playback = self._playback
        playback.error_at, playback.error_is_fatal = signal.at, True
        playback.errors += signal.value != 0
        if playback.state is NEW:
            playback.state = LOADED
        elif playback.state is not LOADED:
            self._stop(FAILED)

    def _error(self, signal: Signal) -> None:
        playback = self._playback
        playback.error_at = signal.at
        playback.errors += 1
        playback.error_is_fatal |= bool(signal.value)

    def _left(self, signal: Signal) -> None:
        if self._playback.state not in (NEW, LOADED):
            self._stop(LEFT)

    def _hidden(self, signal: Signal) -> None:
        self._playback.was_hidden = True

    def _active(self, signal: Signal) -> None:
        self._playback.marks |= Mark.ACTIVE

    def _stop(self, state: State) -> None:
        """Leaves a state in which time counts."""
        playback = self._playback
        if playback.state is NEW:
            self._join()
        if playback.state is STARTING:
            self._end_start(playback.start_s)
        self._close_stall()
        playback.state = state
        playback.stopped_at = self._playback.settled_at or 0

    # Afterwards

    def _explain_pause(self, signal: Signal) -> None:
        """Counts a pause, unless the end that follows at once explains it."""
        playback = self._playback
        paused_at = playback.paused_at
        assert paused_at is not None, "there is a pause"
        is_soon = signal.at - paused_at <= PAUSE_BEFORE_END
        if signal.kind is SignalKind.ENDED and is_soon:
            playback.paused_at = None
        elif not is_soon or signal.kind is SignalKind.PAUSED:
            self._count_pause()

    def _count_pause(self) -> None:
        self._playback.paused_at = None
        self._playback.pauses += 1
        self._out.observe(ObservationKind.VIEWER_PAUSE)

    def confirm(self) -> None:
        """Counts what later signals might have explained: none will come."""
        playback = self._playback
        if playback.paused_at is not None:
            self._count_pause()
        if playback.stall is not None and not playback.stall.is_counted:
            self._count_stall(playback.stall)

    def finish(self) -> None:
        """Closes what is open at the end of a view."""
        playback = self._playback
        if (
            playback.state is STARTING
            and playback.requested_at is not None
            and not (playback.waits or playback.is_hidden)
            and playback.has(Mark.REPORTS_STALLS)
        ):
            # The player would have reported a wait at once.
            self._show_frame(playback.requested_at, is_measured=True)
        self._add_unreported()
        if playback.state not in (NEW, LOADED, ENDED):
            self._stop(LEFT)
        self._close_stall()

    def _add_unreported(self) -> None:
        """Adds the media time that followed the latest running total, by the position."""
        playback = self._playback
        unreported, playback.unreported_s = playback.unreported_s, 0.0
        if unreported and not playback.has(Mark.WITHOUT_TOTALS):
            self._out.add_media(unreported)
            if playback.played is not None:
                playback.played.add(unreported)

    def _note(self, signal: Signal) -> None:
        """Keeps what later signals are compared with."""
        playback = self._playback
        position = signal.position
        if signal.kind in SEEKS:
            position = seek_target(signal)
        if position is not None:
            playback.position, playback.position_at = position, signal.at
            if position > playback.furthest:
                playback.furthest = position
        if signal.rate is not None:
            playback.rate = signal.rate
        if signal.duration is not None:
            playback.duration = signal.duration
        if signal.rendition is not None:
            note_rendition(playback, self._out, signal)


_Handler = Callable[[Settlement, Signal], None]

_HANDLERS: dict[SignalKind, _Handler] = {
    SignalKind.LOADED: Settlement._loaded,
    SignalKind.PLAY_REQUESTED: Settlement._play_requested,
    SignalKind.STALL_BEGIN: Settlement._stall_begin,
    SignalKind.PLAY_WAIT: Settlement._stall_begin,
    SignalKind.STALL_END: Settlement._stall_end,
    SignalKind.PLAYING: Settlement._playing,
    SignalKind.PROGRESS: Settlement._made_progress,
    SignalKind.SEEK_BEGIN: Settlement._seek_begin,
    SignalKind.SEEK_END: Settlement._seek_end,
    SignalKind.PAUSED: Settlement._paused,
    SignalKind.ENDED: Settlement._ended,
    SignalKind.FATAL_ERROR: Settlement._failed,
    SignalKind.ERROR: Settlement._error,
    SignalKind.HIDDEN: Settlement._hidden,
    SignalKind.LEFT: Settlement._left,
    SignalKind.ACTIVE: Settlement._active,
}
