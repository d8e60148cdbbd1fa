"""The state machine of a playback: the state that each signal leads to.

The time up to a signal belongs to the state before it (``state_time``).
"""

from collections.abc import Callable
from typing import Final

from . import outcome
from .movement import POSITION_NOISE, has_jumped, movement
from .observation import Observation
from .observation_builder import ObservationBuilder
from .playback_state import EVIDENCE, Mark, Stall, State
from .rendition_changes import note_rendition
from .signals import SEEKS, Signal, SignalKind
from .stalls import close_stall, count_stall, follows_at_once, is_near, is_part_of_seek, seek_target
from .startup import START_TOLERANCE, begin_start, end_start, note_measures, show_frame
from .state_time import attribute_time, elapsed_until, play_on, resume_in_stall
from .view import View
from .vocabulary import ObservationKind

PAUSE_BEFORE_END: Final = 50
"""ms before the end within which a pause comes from the player, not from the viewer."""

HEARTBEAT_LAG: Final = 1_000
"""ms after a pause within which a periodic report may have been made before it."""

# The members by name: a look-up in the enum takes as long as two calls in Python 3.11.
NEW, LOADED, STARTING, PLAYING, REBUFFERING, SEEKING, PAUSED, ENDED, FAILED, LEFT = State
_REPORT: Final = SignalKind.REPORT

_WAIT_BEGINS: Final = frozenset({SignalKind.STALL_BEGIN})
_WAIT_ENDS: Final = frozenset({SignalKind.STALL_END, SignalKind.PLAYING})
_SEEKABLE: Final = frozenset({PLAYING, REBUFFERING, PAUSED})
_IDLE: Final = frozenset({PAUSED, ENDED, FAILED, LEFT})


class StateMachine:
    """Applies the signals of one view, and collects what follows from them."""

    __slots__ = ("_following", "_moved", "_out", "_playback", "_seconds", "_view", "_window")

    def __init__(self, view: View) -> None:
        self._view = view
        self._playback = view.playback
        self._window = view.playback.window
        self._following = 0  # index of the signal after the one at hand
        self._out = ObservationBuilder(view)
        self._seconds = self._moved = 0.0  # up to the signal at hand

    @property
    def _later(self) -> tuple[Signal, ...]:
        """The signals that wait after the one at hand."""
        return self._window[self._following :]

    def observations(self) -> list[Observation]:
        """Returns what was observed."""
        return self._out.build()

    # One signal

    def apply(self, number: int) -> None:
        """Applies the signal with this number in the window."""
        signal, self._following = self._window[number], number + 1
        playback, out, kind = self._playback, self._out, signal.kind
        if playback.applied_until is None and kind is SignalKind.SEEK_BEGIN:
            # html5 of the first SDK generation measures the latency of a seek from the navigation.
            return
        seconds = self._seconds = elapsed_until(playback, signal)
        moved = self._moved = movement(playback, signal)
        if playback.paused_at is not None:
            self._explain_pause(signal)
        if signal.measures is not None:
            note_measures(playback, out, signal.measures, kind)
        if (
            kind is _REPORT
            and playback.state <= LOADED
            and (signal.played or (signal.quartile and playback.state is NEW))
        ):
            self._made_progress(signal)
        attribute_time(playback, out, signal, seconds, moved)
        if kind is not _REPORT:  # half of all
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, signal)
        self._note(signal)
        if playback.state is ENDED and kind is SignalKind.ENDED:
            out.add_observations(outcome.end_observations(self._view, signal.value))

    # Start

    def _play_requested(self, signal: Signal) -> None:
        playback = self._playback
        if playback.state in (NEW, LOADED) or (playback.state in _IDLE and not playback.has_frame):
            begin_start(playback, signal)
            measures = signal.measures
            if (
                measures is not None
                and measures.is_startup_documented
                and measures.play is not None
                and not follows_at_once(_WAIT_BEGINS, signal, self._later)
            ):
                show_frame(
                    playback, self._out, signal.at, is_measured=False, reported=measures.play
                )
        elif playback.state in _IDLE:
            if signal.reports_totals or playback.state is PAUSED:
                self._resume(signal)
            else:  # a source of states, which says when it plays again
                begin_start(playback, signal)
                playback.has_frame = False
        elif playback.state is REBUFFERING and signal.value is not None:
            close_stall(playback, self._out)
            playback.waits = False
            playback.state = PLAYING

    def _resume(self, signal: Signal) -> None:
        """Goes on playing, or waiting for the data that were missing at the pause."""
        playback = self._playback
        playback.state = PLAYING
        if not playback.waits or follows_at_once(_WAIT_ENDS, signal, self._later):
            return
        playback.state = SEEKING if playback.seek_is_open else REBUFFERING
        cause = "seek" if playback.seek_is_open else "rebuffer"
        playback.stall = Stall(cause, signal.position)

    # Stalls

    def _stall_begin(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        playback.stall_was_refuted = False
        playback.waits = True
        if state is NEW and signal.position and signal.position >= START_TOLERANCE:
            self._join()
            state = PLAYING
        if state <= STARTING:
            cause = "startup"
            if state is not STARTING and signal.kind is SignalKind.PLAY_WAIT:
                begin_start(playback, signal)
            elif state is NEW:
                playback.state = LOADED
        elif state is PLAYING:
            is_seek = is_part_of_seek(signal, self._later)
            if is_seek or has_jumped(playback, signal):
                playback.state, cause = SEEKING, "seek"
            else:
                playback.state, cause = REBUFFERING, "rebuffer"
        elif state is REBUFFERING:
            if not has_jumped(playback, signal):
                return
            close_stall(playback, self._out)
            playback.state, cause = SEEKING, "seek"
        else:
            cause = "seek" if state is SEEKING else "paused"
        if playback.stall is None:
            playback.stall = Stall(cause, signal.position)

    def _stall_end(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        was_refuted, playback.stall_was_refuted = playback.stall_was_refuted, False
        was_waiting = playback.stall is not None or playback.waits
        close_stall(playback, self._out, signal.value)
        playback.waits = False
        if state is REBUFFERING or state is FAILED:
            playback.state = PLAYING
            playback.clear_error()
        elif state is SEEKING:
            if not playback.seek_is_open:
                playback.state = PLAYING
            playback.clear_error()
        elif state is NEW:
            self._join()
        elif state is PLAYING and not was_waiting and not was_refuted and signal.value:
            # The begin of the stall was lost.
            lost = min(signal.value, self._seconds - self._moved / (playback.rate or 1))
            if lost > POSITION_NOISE:
                playback.playing_s -= lost
                playback.rebuffering_s += lost
                playback.stall = Stall("rebuffer", signal.position, lost)
                close_stall(playback, self._out)

    # Other transitions

    def _loaded(self, signal: Signal) -> None:
        playback = self._playback
        if playback.state is STARTING or playback.state is LOADED:
            return
        if playback.state is not NEW:
            close_stall(playback, self._out)
            self._add_unreported()  # a new total may begin
            playback.position = None
        playback.state = LOADED
        playback.has_frame = playback.waits = playback.seek_is_open = False

    def _playing(self, signal: Signal) -> None:
        playback = self._playback
        if playback.state is PAUSED and playback.seek_at is None:
            resume_in_stall(playback, self._out)
        self._end_seek_of_states(signal.at)
        if playback.state is not PLAYING:
            if not playback.has_frame:
                # The request was not seen: it came with the frame if no wait was reported before.
                begin_start(playback, signal)
                show_frame(playback, self._out, signal.at, is_measured=signal.reports_stalls)
            close_stall(playback, self._out)
            playback.state = PLAYING
        playback.waits = playback.seek_is_open = False
        playback.clear_error()

    def _made_progress(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        if state is NEW:
            self._join()
        elif state is LOADED:
            self._note_request()
            begin_start(playback, signal)
            if signal.played:
                self._join()
        if playback.has_frame and (state is LOADED or state in _IDLE):
            if self._moved:
                play_on(playback, self._out, self._seconds, self._moved)
                if signal.played is not None:
                    playback.unreported_s = 0.0
            elif state is PAUSED and signal.at - playback.stopped_at > HEARTBEAT_LAG:
                if not resume_in_stall(playback, self._out):
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
            if stall is not None and is_near(stall.position, signal.target):
                return  # the player's own remedy for the stall
            close_stall(playback, self._out)
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
            close_stall(playback, self._out)
            playback.state = PLAYING
        elif playback.state is REBUFFERING and playback.stall is not None:
            begin, target = playback.stall.position, seek_target(signal)
            if begin is not None and target is not None and not is_near(begin, target):
                close_stall(playback, self._out)
                playback.state = SEEKING

    def _paused(self, signal: Signal) -> None:
        playback = self._playback
        self._end_seek_of_states(signal.at)
        if playback.state not in _IDLE:
            playback.paused_at = signal.at
        if playback.state is NEW and signal.played == 0:
            playback.state = LOADED
        if playback.state not in (LOADED, ENDED, FAILED):
            self._stop(PAUSED)

    def _ended(self, signal: Signal) -> None:
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
        playback.errors += 1
        if playback.state is PAUSED and not signal.value:
            return  # nothing was to be played
        playback.error_at = signal.at
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
            end_start(playback, self._out, playback.start_s)
        close_stall(playback, self._out)
        playback.state = state
        playback.stopped_at = playback.applied_until or 0

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
        if playback.stall is not None and playback.stall.is_pending:
            count_stall(playback, self._out, playback.stall)

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
            show_frame(playback, self._out, playback.requested_at, is_measured=True)
        self._add_unreported()
        if playback.state not in (NEW, LOADED, ENDED):
            self._stop(LEFT if playback.has_frame else LOADED)  # it may start later
        close_stall(playback, self._out)

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


_Handler = Callable[[StateMachine, Signal], None]

_HANDLERS: dict[SignalKind, _Handler] = {
    SignalKind.LOADED: StateMachine._loaded,
    SignalKind.PLAY_REQUESTED: StateMachine._play_requested,
    SignalKind.STALL_BEGIN: StateMachine._stall_begin,
    SignalKind.PLAY_WAIT: StateMachine._stall_begin,
    SignalKind.STALL_END: StateMachine._stall_end,
    SignalKind.PLAYING: StateMachine._playing,
    SignalKind.PROGRESS: StateMachine._made_progress,
    SignalKind.SEEK_BEGIN: StateMachine._seek_begin,
    SignalKind.SEEK_END: StateMachine._seek_end,
    SignalKind.PAUSED: StateMachine._paused,
    SignalKind.ENDED: StateMachine._ended,
    SignalKind.FATAL_ERROR: StateMachine._failed,
    SignalKind.ERROR: StateMachine._error,
    SignalKind.HIDDEN: StateMachine._hidden,
    SignalKind.LEFT: StateMachine._left,
    SignalKind.ACTIVE: StateMachine._active,
}
