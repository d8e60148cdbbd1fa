"""The playback model: one state machine per view, and the time spent in each state.

    new -> loaded -> starting -> playing <-> rebuffering, seeking, paused -> ended, failed, left

It consumes signals (``signals``) of any source, in three steps:

``receive``   takes the signals of a batch. What holds in any order (a view was loaded, asked to
              play, completed; running totals, which are high-water marks) is observed at once.
``settle``    applies the signals that arrived some time ago, in the order of client time: batches
              of a view may overtake each other. All times follow from this step.
``end_view``  closes what is open, and observes what holds once a view: its outcome, its score.

Rules, with their sources (CTA-2066, and recorded traffic of both SDK generations):

evidence   Between two signals at most ``EVIDENCE`` counts for any state. Players report every 10 s,
           hidden tabs once a minute, so sleep, freezes and lost connections add no time.
clocks     Where client time outruns arrival by more than it ever did for the view, the client's
           clock has jumped; the jump adds nothing.
movement   A position that moves as playback does shows the first frame, and ends a stall or a seek
           whose end the player does not report (dash.js; DOM ``stalled`` while the picture moves).
start-up   It begins with the play request and ends with the first frame. A player that reports
           each wait, and none after the request, shows its first frame at once (preloaded).
stalls     A wait before the first progress is start-up; one that a seek explains, by its time and
           target or by a jump of the position, belongs to the seek; any other is rebuffering. A
           pause ends it: the viewer no longer waits.
errors     An error is fatal if nothing was played after it. While the position stands still after
           one, the time counts for no state.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from . import outcome
from .fields import resolution_name
from .observation import NO_EVENT, Observation
from .playback_state import Mark, Playback, Stall, State
from .signals import Measures, Signal, SignalKind, Switch
from .totals import RESTARTS_KEPT, Doubt, RunningTotal
from .view import View
from .vocabulary import ObservationKind

REORDER_WINDOW: Final = 10_000
"""ms of arrival time for which a signal waits for earlier ones, and for the seek that explains its
stall: the SDK sends a batch every 5 s, and repeats one after 1, 2 and 4 s."""

MAX_WAITING: Final = 256
"""Signals of a view that may wait; above it the earliest are applied. A player sends one a second
at the most, and all that wait are in memory."""

EVIDENCE: Final = 90_000
"""ms between two signals that count for a state."""

CLOCK_TOLERANCE: Final = 10_000
"""ms by which client time may newly outrun arrival without a jump: the first batch may have been
sent late by as much."""

START_GRACE: Final = 250
"""ms after a play request within which a player reports that it has to wait."""

START_TOLERANCE: Final = 0.5
"""s within which a position still counts as the start: nothing has been shown yet."""

POSITION_NOISE: Final = 0.1
"""s by which a position changes in a stall."""

MIN_SILENT_STALL: Final = 0.3
"""s above which a stall that movement ended was one; below it the picture never stopped."""

SEEK_TARGET_TOLERANCE: Final = 1.0
"""s between a stall's position and the target of the seek that explains it."""

SEEK_CLOCK_TOLERANCE: Final = 50
"""ms by which the clocks of a seek's latency and of the stall may differ."""

SEEK_LAG: Final = 250
"""ms by which a seek event may follow the end of its stall (Shaka: up to 41 ms)."""

PAUSE_BEFORE_END: Final = 50
"""ms before the end within which a pause comes from the player, not from the viewer."""

HEARTBEAT_LAG: Final = 1_000
"""ms after a pause within which a periodic report may have been made before it."""

MAX_RATE: Final = 2.0
"""s of media that may pass in one s without a seek, if the playback rate is not reported."""

ROUNDING: Final = 0.05
"""s by which a reported duration may exceed the time between its events, which are rounded."""

MAX_COUNTED_FPS: Final = 300.0

_encode = msgspec.msgpack.Encoder().encode

_REQUESTS: Final = frozenset({SignalKind.PLAY_REQUESTED, SignalKind.PLAYING, SignalKind.PLAY_WAIT})
_SAYS_NOTHING: Final = frozenset({SignalKind.REPORT, SignalKind.HIDDEN, SignalKind.VISIBLE})
_BEGINNINGS: Final = frozenset(
    {SignalKind.LOADED, SignalKind.READY, SignalKind.PLAY_REQUESTED, SignalKind.PLAY_WAIT}
)
_PLAYS: Final = frozenset({SignalKind.PLAY_REQUESTED, SignalKind.PLAYING, SignalKind.PROGRESS})
_STOPS: Final = frozenset(
    {
        SignalKind.PAUSED,
        SignalKind.ENDED,
        SignalKind.FATAL_ERROR,
        SignalKind.LEFT,
        SignalKind.LOADED,
    }
)
_ENDS: Final = frozenset({SignalKind.ENDED, SignalKind.FATAL_ERROR, SignalKind.LEFT})
_SEEKS: Final = frozenset({SignalKind.SEEK_BEGIN, SignalKind.SEEK_END})
_SEEKABLE: Final = frozenset({State.PLAYING, State.REBUFFERING, State.PAUSED})
_IDLE: Final = frozenset({State.PAUSED, State.ENDED, State.FAILED, State.LEFT})


def receive(view: View, signals: Sequence[Signal], now: int) -> list[Observation]:
    """Takes the signals of a batch; returns what holds whatever arrives later.

    Args:
        view: The view.
        signals: Its signals in the batch, at least one.
        now: Time of arrival, ms.
    """
    playback = view.playback
    ordered = _ranked(signals)
    out: list[Observation] = []
    _note_clock(playback, ordered[-1].at, now)
    for signal in ordered:
        _note_marks(view, signal, out)
        if signal.played is not None or signal.dropped is not None:
            _note_totals(view, signal, out)
    settled = playback.settled_at
    if settled is not None and ordered[0].at <= settled:
        for signal in ordered:
            if signal.at <= settled:
                _note_late(playback, signal)
        ordered = [signal for signal in ordered if signal.at > settled]
    _extend_window(playback, ordered, now)
    return out


def _order(signal: Signal) -> tuple[float, int, int]:
    return signal.at, signal.kind, signal.rank


def _ranked(signals: Sequence[Signal]) -> list[Signal]:
    """Returns the signals of a batch in order; those of one time and kind as the player sent them.

    A player may leave one rendition and take another within a millisecond. Equal signals are one.
    """
    ordered: list[Signal] = []
    siblings: list[Signal] = []  # of the latest time and kind, without ranks
    for signal in sorted(signals, key=_order):
        if siblings and (siblings[0].at != signal.at or siblings[0].kind != signal.kind):
            siblings = []
        if signal in siblings:
            continue
        siblings.append(signal)
        rank = len(siblings) - 1
        ordered.append(msgspec.structs.replace(signal, rank=rank) if rank else signal)
    return ordered


def _extend_window(playback: Playback, ordered: list[Signal], now: int) -> None:
    """Adds ordered signals to those that wait; equal ones once.

    Those of several batches with the same time, kind and rank are ordered by content, so the order
    of arrival is irrelevant.
    """
    if not ordered:
        return
    window, arrivals = list(playback.window), list(playback.arrivals)
    for signal in ordered:
        key = _order(signal)
        place = len(window)
        if window and _order(window[-1]) >= key:
            place = bisect_right(window, key, key=_order)
            while place and _order(window[place - 1]) == key:
                other = window[place - 1]
                if other == signal:
                    place = -1
                elif _encode(other) > _encode(signal):
                    place -= 1
                    continue
                break
        if place >= 0:
            window.insert(place, signal)
            arrivals.insert(place, now)
    playback.window, playback.arrivals = tuple(window), tuple(arrivals)


def _note_clock(playback: Playback, newest: float, now: int) -> None:
    """Detects that the client's clock has jumped ahead.

    A batch that arrives late lowers the lead of client time, never raises it. So a lead beyond all
    earlier ones is a jump; but time that was behind arrival may only have been late until now.
    """
    lead, known = newest - now, playback.lead
    if known is None:
        playback.lead = lead
    elif lead > known:
        if lead > max(known, 0) + CLOCK_TOLERANCE:
            playback.jump = lead - (known if known > -EVIDENCE else 0)
        playback.lead = lead


def _note_marks(view: View, signal: Signal, out: list[Observation]) -> None:
    playback, kind, at = view.playback, signal.kind, signal.at
    marks = playback.marks
    if signal.generation:
        playback.generation = signal.generation
    if not signal.reports_totals:
        marks |= Mark.WITHOUT_TOTALS
    if signal.is_live:
        marks |= Mark.LIVE
    if playback.first_at is None or at < playback.first_at:
        playback.first_at = at
    if not marks & Mark.LOADED and kind not in _SAYS_NOTHING:
        marks |= Mark.LOADED
        out.append(Observation(ObservationKind.VIEW_LOADED, NO_EVENT, view))
    if kind in _BEGINNINGS:
        marks |= Mark.BEGAN
        if playback.began_at is None or at < playback.began_at:
            playback.began_at = at
        if kind <= SignalKind.READY and at not in playback.restarts:
            playback.restarts = tuple(sorted((*playback.restarts, at)))[-RESTARTS_KEPT:]
    if kind in _REQUESTS and not marks & Mark.REQUESTED:
        marks |= Mark.REQUESTED
        out.append(Observation(ObservationKind.VIEW_STARTED, NO_EVENT, view))
    if kind is SignalKind.ENDED and not marks & Mark.ENDED:
        marks |= Mark.ENDED
        out.append(Observation(ObservationKind.VIEW_COMPLETED, NO_EVENT, view))
    if signal.quartile is not None:
        bit = Mark.QUARTILES << (signal.quartile // 25 - 1)
        if not marks & bit:
            marks |= bit
            label = str(signal.quartile)
            out.append(Observation(ObservationKind.QUARTILE_REACHED, NO_EVENT, view, None, label))
    playback.marks = marks
    if at >= playback.playing_at:
        playback.playing_at = at
        playback.is_hidden = kind is SignalKind.HIDDEN
        playback.is_over = kind in _ENDS
        if kind in _PLAYS:
            playback.is_playing = True
        elif kind in _STOPS:
            playback.is_playing = False


def _note_totals(view: View, signal: Signal, out: list[Observation]) -> None:
    playback, at = view.playback, signal.at
    is_baseline = False
    if signal.played is not None:
        if playback.played is None:
            playback.played = RunningTotal()
        began = playback.began_at
        if began is not None and began > at:
            began = None
        increase = playback.played.advance_time(signal.played, at, playback.restarts, began)
        if increase is Doubt.IMPLAUSIBLE:
            out.append(Observation(ObservationKind.TOTAL_IGNORED, NO_EVENT, view))
        elif increase is Doubt.BASELINE:
            is_baseline = True
            playback.marks |= Mark.JOINED
        elif increase:
            playback.media_s += increase
            out.append(Observation(ObservationKind.MEDIA_PLAYED, NO_EVENT, view, increase))
    if signal.dropped is not None:
        if playback.dropped is None:
            playback.dropped = RunningTotal()
            if is_baseline:
                playback.dropped.set_baseline(signal.dropped, at)
        frames = playback.dropped.advance(signal.dropped, at, playback.restarts)
        if frames:
            playback.dropped_unsettled += frames
            playback.frames_dropped += frames
            out.append(Observation(ObservationKind.FRAMES_DROPPED, NO_EVENT, view, frames))


def _note_late(playback: Playback, signal: Signal) -> None:
    """Takes from a signal that arrived too late for the states what does not depend on them."""
    if signal.duration is not None and playback.duration is None:
        playback.duration = signal.duration
    if signal.position is not None and signal.position > playback.furthest:
        playback.furthest = signal.position


# Settling


def settle(view: View, before: int | None) -> list[Observation]:
    """Applies the signals that arrived up to a time, and those that precede them.

    Args:
        view: The view.
        before: Time of arrival, ms; None for all, when no later signal will explain them.
    """
    playback = view.playback
    window, arrivals = playback.window, playback.arrivals
    if not window:
        return []
    count = len(window)
    if before is not None:
        while count and arrivals[count - 1] > before:
            count -= 1
        if len(window) > MAX_WAITING:
            count = max(count, len(window) - MAX_WAITING // 2)
        if not count:
            return []
    settlement = _Settlement(view)
    for number in range(count):
        settlement.apply(window[number], window, number + 1)
    playback.window, playback.arrivals = window[count:], arrivals[count:]
    if before is None:
        settlement.confirm()
    return settlement.observations()


def apply_signals(view: View, signals: Sequence[Signal], now: int) -> list[Observation]:
    """Takes the signals of a batch, and applies those whose time has come."""
    if not signals:
        return []
    out = receive(view, signals, now)
    out += settle(view, now - REORDER_WINDOW)
    return out


def trace(view: View, signals: Sequence[Signal]) -> Iterator[Signal]:
    """Applies the signals of a whole view one by one.

    Yields:
        Each signal that the model has just applied, in order; the view is in the state after it.
    """
    receive(view, signals, now=0)
    window = view.playback.window
    settlement = _Settlement(view)
    for number, signal in enumerate(window):
        settlement.apply(signal, window, number + 1)
        yield signal


def end_view(view: View) -> list[Observation]:
    """Ends a view after its time-out; returns its last observations."""
    out = settle(view, None)
    settlement = _Settlement(view)
    settlement.finish()
    return [*out, *settlement.observations(), *outcome.end_observations(view)]


def is_pending(view: View) -> bool:
    """Whether signals of the view, a stall or a pause wait for later ones."""
    playback = view.playback
    stall = playback.stall
    return bool(
        playback.window
        or playback.paused_at is not None
        or (stall is not None and not stall.is_counted)
    )


def ends_early(view: View) -> bool:
    """Whether nothing more is to be expected of a silent view: it is over, or its page was hidden
    before anything was shown."""
    playback = view.playback
    return playback.is_over or (playback.is_hidden and not playback.has(Mark.SHOWN))


class _Settlement:
    """Signals of one view being applied, and what follows from them."""

    __slots__ = (
        "_bits",
        "_downscaled",
        "_frames",
        "_known",
        "_media",
        "_moved",
        "_out",
        "_playback",
        "_renditions",
        "_scale",
        "_seconds",
        "_starting",
        "_upscaled",
        "_view",
        "_watched",
    )

    def __init__(self, view: View) -> None:
        self._view = view
        self._playback = view.playback
        self._out: list[Observation] = []
        self._watched = self._starting = self._media = 0.0
        self._bits = self._known = 0.0
        self._scale = self._upscaled = self._downscaled = 0.0
        self._frames = 0.0
        self._seconds = self._moved = 0.0  # up to the signal at hand
        self._renditions: dict[str, float] = {}

    def observations(self) -> list[Observation]:
        """Returns what was observed, sums of times last."""
        view, out, playback = self._view, self._out, self._playback
        frames_dropped: float = 0
        if playback.fps is not None:
            frames_dropped, playback.dropped_unsettled = playback.dropped_unsettled, 0
        elif not playback.window:  # else the rendition may be in a signal that waits
            playback.dropped_unsettled = 0
        playback.media_s += self._media
        playback.bits += self._bits
        playback.bits_s += self._known
        for kind, value in (
            (ObservationKind.WATCHED, self._watched),
            (ObservationKind.STARTUP_WAIT, self._starting),
            (ObservationKind.MEDIA_PLAYED, self._media),
            (ObservationKind.BITS_PLAYED, self._bits),
            (ObservationKind.BITRATE_KNOWN, self._known),
            (ObservationKind.SCALE_KNOWN, self._scale),
            (ObservationKind.UPSCALED, self._upscaled),
            (ObservationKind.DOWNSCALED, self._downscaled),
            (ObservationKind.FRAMES_EXPECTED, self._frames),
            (ObservationKind.EXPECTED_FRAMES_DROPPED, frames_dropped),
        ):
            if value:
                out.append(Observation(kind, NO_EVENT, view, value))
        for name, seconds in self._renditions.items():
            kind = ObservationKind.RENDITION_PLAYED
            out.append(Observation(kind, NO_EVENT, view, seconds, name))
        return out

    def _observe(self, kind: ObservationKind, value: float | None = None, label: str = "") -> None:
        self._out.append(Observation(kind, NO_EVENT, self._view, value, label))

    # One signal

    def apply(self, signal: Signal, window: Sequence[Signal], following: int) -> None:
        """Applies a signal.

        Args:
            signal: The signal.
            window: All that wait.
            following: Index of the next one.
        """
        playback, kind = self._playback, signal.kind
        self._seconds = self._elapsed(signal.at)
        self._moved = self._movement(signal)
        if playback.paused_at is not None:
            self._explain_pause(signal)
        if signal.measures is not None:
            self._note_measures(signal.measures, kind)
        if (
            playback.state <= State.LOADED
            and kind is SignalKind.REPORT
            and (signal.played or (signal.quartile and playback.state is State.NEW))
        ):
            self._made_progress(signal)
        self._spend(signal)
        stall = playback.stall
        if (
            stall is not None
            and not stall.is_counted
            and signal.position is not None
            and stall.seconds >= MIN_SILENT_STALL
        ):
            self._count_stall(stall)
        if kind is SignalKind.PLAY_REQUESTED:
            self._play_requested(signal, window, following)
        elif kind is SignalKind.STALL_BEGIN or kind is SignalKind.PLAY_WAIT:
            self._stall_begin(signal, window, following)
        elif kind is SignalKind.STALL_END:
            self._stall_end(signal)
        else:
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, signal)
        self._note(signal)
        if kind is SignalKind.ENDED:
            self._out += outcome.end_observations(self._view, signal.value)

    def _elapsed(self, at: float) -> float:
        """The seconds since the previous signal that count."""
        playback = self._playback
        previous, playback.settled_at = playback.settled_at, at
        if previous is None:
            return 0.0
        elapsed = at - previous
        if playback.jump and elapsed >= playback.jump - CLOCK_TOLERANCE:
            elapsed = max(0, elapsed - playback.jump)
            playback.jump = 0
        if playback.state is State.PAUSED:
            playback.paused_s += elapsed / 1000
        return min(elapsed, EVIDENCE) / 1000

    def _movement(self, signal: Signal) -> float:
        """The media time by which the position has moved as playback moves it, else 0."""
        playback = self._playback
        if signal.position is None or playback.position is None or signal.kind in _SEEKS:
            return 0.0
        moved = signal.position - playback.position
        elapsed = (signal.at - playback.position_at) / 1000
        plausible = elapsed * max(MAX_RATE, playback.rate) + START_TOLERANCE
        return moved if POSITION_NOISE < moved <= plausible else 0.0

    def _has_jumped(self, signal: Signal) -> bool:
        playback = self._playback
        if signal.position is None or playback.position is None:
            return False
        moved = signal.position - playback.position
        elapsed = (signal.at - playback.position_at) / 1000
        plausible = elapsed * max(MAX_RATE, playback.rate) + START_TOLERANCE
        return not -START_TOLERANCE <= moved <= plausible

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
        if state is State.PLAYING:
            if playback.error_at is None or not self._stands_still(signal):
                self._play(seconds)
            if moved:
                playback.unreported_s += moved
                self._progress()
        elif state is State.REBUFFERING:
            self._spend_waiting()
        elif state is State.SEEKING:
            if moved and not playback.seek_is_open:
                self._spend_waiting()
            elif playback.stall is not None:
                playback.stall.seconds += seconds
        elif state is State.STARTING:
            playback.start_s += seconds
            if playback.stall is not None:
                playback.stall.seconds += seconds
            shown_at = self._first_frame_at(signal)
            if shown_at is not None:
                self._show_frame_of(signal, shown_at)
                playback.unreported_s += moved
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
        if playback.state is State.REBUFFERING:
            playback.rebuffering_s += waited
            self._watched += waited
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
        playback.state = State.PLAYING
        playback.unreported_s += moved
        self._play(played)
        self._progress()

    def _play(self, seconds: float) -> None:
        """Attributes time to playing."""
        if not seconds:
            return
        playback = self._playback
        playback.playing_s += seconds
        self._watched += seconds
        if playback.has(Mark.WITHOUT_TOTALS):
            self._media += seconds * playback.rate
        if playback.bps is not None:
            self._bits += seconds * playback.bps
            self._known += seconds
        if playback.height is not None:
            name = resolution_name(playback.height)
            self._renditions[name] = self._renditions.get(name, 0.0) + seconds
        if playback.upscale is not None:
            upscaled = seconds * playback.upscale
            self._scale += seconds
            self._upscaled += upscaled
            self._downscaled += seconds * (playback.downscale or 0.0)
            playback.scale_s += seconds
            playback.upscale_s += upscaled
            playback.max_upscale = max(playback.max_upscale, playback.upscale)
        if playback.fps is not None:
            self._frames += seconds * playback.fps

    def _progress(self) -> None:
        """Playback has moved on: no earlier error was fatal."""
        self._playback.error_at = None
        self._playback.error_is_fatal = False

    # Start

    def _begin_start(self, signal: Signal) -> None:
        playback = self._playback
        playback.state = State.STARTING
        playback.requested_at = signal.at
        if playback.asked_at is None:
            playback.asked_at = signal.at
        playback.request_position = signal.position
        playback.start_s = 0.0
        if signal.reports_stalls:
            playback.marks |= Mark.TELLS_STALLS

    def _first_frame_at(self, signal: Signal) -> float | None:
        """When the first frame of a start was shown, if this signal shows it."""
        playback, kind, at = self._playback, signal.kind, signal.at
        requested = playback.requested_at
        assert requested is not None, "a start has a request"
        if kind is SignalKind.PLAYING:
            return at
        if kind is SignalKind.STALL_END:
            return at if playback.waits or signal.value else None
        is_soon = at - requested <= START_GRACE
        if kind is SignalKind.STALL_BEGIN or kind is SignalKind.PLAY_WAIT:
            if playback.waits or is_soon:
                return None
            if signal.position is None or playback.request_position is None:
                return requested
            is_near = abs(signal.position - playback.request_position) < START_TOLERANCE
            return None if is_near else requested
        media = self._moved
        if not media and signal.played and not playback.has(Mark.SHOWN | Mark.ACTIVE):
            media = signal.played if playback.has(Mark.BEGAN) else 0.0
        if media:
            if signal.reports_stalls and not playback.waits:
                return requested
            return max(requested, at - media / playback.rate * 1000)
        if playback.waits or is_soon or not signal.reports_stalls:
            return None
        if signal.position is not None and signal.position == playback.request_position:
            return None  # Shaka reports neither wait nor error for a missing manifest
        return requested

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
        playback.state = State.PLAYING
        playback.has_frame = True
        playback.waits = False
        if not playback.has(Mark.SHOWN):
            playback.marks |= Mark.SHOWN
            playback.shown_at = shown_at
            self._observe_startup(reported, is_measured=is_measured)
        self._play(played)
        self._progress()

    def _end_start(self, waited: float) -> None:
        self._playback.starting_s += waited
        self._starting += waited
        self._playback.start_s = 0.0

    def _observe_startup(self, reported: float | None, *, is_measured: bool) -> None:
        measures = self._playback.measures or _NO_MEASURES
        if measures.first_frame is not None:
            startup, source = measures.first_frame, measures.first_frame_source
        elif reported is not None:
            startup, source = reported, "reported"
        elif is_measured:
            startup, source = self._playback.starting_s, "measured"
        else:
            return
        self._playback.startup_s = startup
        self._observe(ObservationKind.STARTUP, startup, source)
        if measures.page_load is not None and measures.player_startup is not None:
            # Both count from the navigation.
            before = max(measures.page_load, measures.player_startup)
            self._observe(ObservationKind.AGGREGATE_STARTUP, before + startup)

    def _note_measures(self, new: Measures, kind: SignalKind) -> None:
        playback = self._playback
        known = playback.measures
        if known is None:
            known = _NO_MEASURES
        is_first_request = kind is not SignalKind.PLAY_REQUESTED or (
            playback.state in (State.NEW, State.LOADED) and not playback.has(Mark.SHOWN)
        )
        playback.measures = known = Measures(
            _first(known.page_load, new.page_load),
            _first(known.player_startup, new.player_startup),
            _first(known.can_play, new.can_play),
            _first(known.play, new.play if is_first_request else None),
            _first(known.first_frame, new.first_frame),
            known.first_frame_source if known.first_frame is not None else new.first_frame_source,
            load=_first(known.load, new.load),
        )
        if playback.has(Mark.REPORTED_STARTUP):
            return
        if known.can_play is not None and known.player_startup is not None:
            startup, field = known.can_play - known.player_startup, "canplay"
        elif known.play is not None:
            startup, field = known.play, "playing"
        elif known.load is not None:
            startup, field = known.load, "msd"
        else:
            return
        if startup >= 0:
            playback.marks |= Mark.REPORTED_STARTUP
            self._observe(ObservationKind.REPORTED_STARTUP, startup, field)

    def _play_requested(self, signal: Signal, window: Sequence[Signal], following: int) -> None:
        playback = self._playback
        if playback.state in (State.NEW, State.LOADED) or (
            playback.state in _IDLE and not playback.has_frame
        ):
            self._begin_start(signal)
            measures = signal.measures
            if (
                measures is not None
                and measures.is_startup_documented
                and measures.play is not None
                and not _waits_at_once(signal, window, following)
            ):
                self._show_frame(signal.at, is_measured=False, reported=measures.play)
        elif playback.state in _IDLE:
            self._resume(signal, window, following)

    def _resume(self, signal: Signal, window: Sequence[Signal], following: int) -> None:
        """Goes on playing, or waiting for the data that were missing at the pause."""
        playback = self._playback
        playback.state = State.PLAYING
        if not playback.waits:
            return
        for later in window[following:]:
            if later.at > signal.at + START_GRACE:
                break
            if later.kind is SignalKind.STALL_END:
                return
        if playback.seek_is_open:
            playback.state = State.SEEKING
            playback.stall = Stall("seek", signal.position)
        else:
            playback.state = State.REBUFFERING
            playback.stall = Stall("rebuffer", signal.position)

    # Stalls

    def _stall_begin(self, signal: Signal, window: Sequence[Signal], following: int) -> None:
        playback = self._playback
        state = playback.state
        playback.stall_was_refuted = False
        if state is State.NEW and signal.position and signal.position >= START_TOLERANCE:
            self._join()
            state = State.PLAYING
        if state is State.NEW or state is State.LOADED:
            if signal.kind is SignalKind.PLAY_WAIT:
                self._begin_start(signal)
            else:
                playback.state = State.LOADED
            playback.waits = True
            self._open_stall("startup", signal)
        elif state is State.STARTING:
            playback.waits = True
            self._open_stall("startup", signal)
        elif state is State.PLAYING:
            playback.waits = True
            if self._has_jumped(signal) or _is_part_of_seek(signal, window, following):
                playback.state = State.SEEKING
                self._open_stall("seek", signal)
            elif self._is_at_start(signal):
                self._begin_start(signal)
                playback.has_frame = False
                self._open_stall("startup", signal)
            else:
                playback.state = State.REBUFFERING
                self._open_stall("rebuffer", signal)
        elif state is State.REBUFFERING:
            if self._has_jumped(signal):
                self._close_stall()
                playback.state = State.SEEKING
                self._open_stall("seek", signal)
        elif state is State.SEEKING:
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
        self._observe(ObservationKind.STALL, None, stall.cause)
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
        self._observe(ObservationKind.STALL_DURATION, seconds, stall.cause)

    def _stall_end(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        was_refuted, playback.stall_was_refuted = playback.stall_was_refuted, False
        had_stall = playback.stall is not None
        self._close_stall(signal.value)
        playback.waits = False
        if state is State.REBUFFERING or state is State.FAILED:
            playback.state = State.PLAYING
            self._progress()
        elif state is State.SEEKING:
            if not playback.seek_is_open:
                playback.state = State.PLAYING
            self._progress()
        elif state is State.NEW:
            self._join()
        elif state is State.PLAYING and not had_stall and not was_refuted and signal.value:
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
        if playback.state is State.STARTING or playback.state is State.LOADED:
            return
        if playback.state is not State.NEW:
            self._close_stall()
            playback.position = None
        playback.state = State.LOADED
        playback.has_frame = playback.waits = playback.seek_is_open = False

    def _playing(self, signal: Signal) -> None:
        playback = self._playback
        if playback.seek_at is not None:
            self._end_seek_of_states(signal.at)
        if playback.state is not State.PLAYING:
            if not playback.has_frame:
                self._begin_start(signal)
                self._show_frame(signal.at, is_measured=True)
            self._close_stall()
            playback.state = State.PLAYING
        playback.waits = playback.seek_is_open = False
        self._progress()

    def _made_progress(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        if state is State.NEW:
            self._join()
        elif state is State.LOADED:
            self._note_request()
            self._begin_start(signal)
            if signal.played:
                playback.state = State.PLAYING
                playback.has_frame = True
                playback.marks |= Mark.SHOWN
        elif state in _IDLE and playback.has_frame:
            if self._moved:
                self._play(min(self._seconds, self._moved / playback.rate))
                playback.unreported_s += 0.0 if signal.played is not None else self._moved
                self._progress()
            elif state is not State.PAUSED or signal.at - playback.stopped_at <= HEARTBEAT_LAG:
                return
            playback.state = State.PLAYING

    def _join(self) -> None:
        """Begins to follow a view in mid-play."""
        playback = self._playback
        self._note_request()
        playback.state = State.PLAYING
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
                    self._observe(ObservationKind.VIEW_LOADED)
                self._observe(ObservationKind.VIEW_STARTED)

    def _seek_begin(self, signal: Signal) -> None:
        playback = self._playback
        state = playback.state
        if state in _SEEKABLE and playback.has(Mark.WITHOUT_TOTALS) and playback.seek_at is None:
            # A source of states, which sends no event of the seek itself.
            playback.seek_at = signal.at
            self._observe(ObservationKind.SEEK)
        if state is State.REBUFFERING:
            stall = playback.stall
            if (
                stall is not None
                and stall.position is not None
                and signal.target is not None
                and abs(stall.position - signal.target) <= SEEK_TARGET_TOLERANCE
            ):
                return  # the player's own remedy for the stall
            self._close_stall()
        elif state is not State.PLAYING and state is not State.SEEKING:
            return
        playback.state = State.SEEKING
        playback.seek_is_open = True

    def _end_seek_of_states(self, at: float) -> None:
        """Observes how long a seek took whose end follows from the states."""
        began, self._playback.seek_at = self._playback.seek_at, None
        if began is not None and at - began <= EVIDENCE:
            self._observe(ObservationKind.SEEK_LATENCY, (at - began) / 1000)

    def _seek_end(self, signal: Signal) -> None:
        playback = self._playback
        playback.seek_is_open = False
        playback.seeks += 1
        if signal.value is not None:
            self._observe(ObservationKind.SEEK_LATENCY, signal.value)
        if playback.state is State.SEEKING and not playback.waits:
            self._close_stall()
            playback.state = State.PLAYING
        elif playback.state is State.REBUFFERING and playback.stall is not None:
            begin, target = playback.stall.position, _target(signal)
            if (
                begin is not None
                and target is not None
                and abs(begin - target) > SEEK_TARGET_TOLERANCE
            ):
                self._close_stall()
                playback.state = State.SEEKING

    def _paused(self, signal: Signal) -> None:
        playback = self._playback
        if playback.seek_at is not None:
            self._end_seek_of_states(signal.at)
        playback.paused_at = signal.at
        if playback.state is State.NEW and signal.played == 0:
            playback.state = State.LOADED
        if playback.state not in (State.LOADED, State.ENDED, State.FAILED):
            self._stop(State.PAUSED)

    def _ended(self, signal: Signal) -> None:
        playback = self._playback
        if signal.position is None and playback.duration and signal.value:
            playback.furthest = max(playback.furthest, playback.duration * signal.value)
        self._stop(State.ENDED)

    def _failed(self, signal: Signal) -> None:
        playback = self._playback
        playback.error_at, playback.error_is_fatal = signal.at, True
        playback.errors += 1
        if playback.state is State.NEW:
            playback.state = State.LOADED
        elif playback.state is not State.LOADED:
            self._stop(State.FAILED)

    def _error(self, signal: Signal) -> None:
        playback = self._playback
        playback.error_at = signal.at
        playback.errors += 1
        playback.error_is_fatal |= bool(signal.value)

    def _left(self, signal: Signal) -> None:
        if self._playback.state not in (State.NEW, State.LOADED):
            self._stop(State.LEFT)

    def _active(self, signal: Signal) -> None:
        self._playback.marks |= Mark.ACTIVE

    def _stop(self, state: State) -> None:
        """Leaves a state in which time counts."""
        playback = self._playback
        if playback.state is State.NEW:
            self._join()
        if playback.state is State.STARTING:
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
        self._observe(ObservationKind.VIEWER_PAUSE)

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
            playback.state is State.STARTING
            and playback.requested_at is not None
            and not (playback.waits or playback.is_hidden)
            and playback.has(Mark.TELLS_STALLS)
        ):
            # The player would have reported a wait at once.
            self._show_frame(playback.requested_at, is_measured=True)
        unreported, playback.unreported_s = playback.unreported_s, 0.0
        if unreported and not playback.has(Mark.WITHOUT_TOTALS):
            self._media += unreported
            if playback.played is not None:
                playback.played.add(unreported)
        if playback.state not in (State.NEW, State.LOADED, State.ENDED):
            self._stop(State.LEFT)
        self._close_stall()

    def _note(self, signal: Signal) -> None:
        """Keeps what later signals are compared with."""
        playback = self._playback
        position = signal.position
        if signal.kind in _SEEKS:
            position = _target(signal)
        if position is not None:
            playback.position, playback.position_at = position, signal.at
            if position > playback.furthest:
                playback.furthest = position
        if signal.rate is not None:
            playback.rate = signal.rate
        if signal.duration is not None:
            playback.duration = signal.duration
        if signal.rendition is not None:
            self._note_rendition(signal)

    # Rendition

    def _note_rendition(self, signal: Signal) -> None:
        """Takes the rendition of a signal, and compares it with the one before.

        video.js repeats the event without a change, and Shaka's adapters also send it for sound.
        """
        playback, new, switch = self._playback, signal.rendition, signal.switch
        assert new is not None, "the signal has a rendition"
        bps = new.bps
        if switch is not None and switch.is_audio:
            playback.audio_bps = bps or playback.audio_bps
            return
        if switch is None and bps is not None and bps == playback.audio_bps:
            # dash.js reports the latest change, even that of the sound.
            bps = playback.bps or bps
        if signal.kind is SignalKind.PROGRESS:
            if bps is not None:
                self._observe(ObservationKind.HEARTBEAT_BITRATE, bps)
        elif switch is not None:
            if not self._switched(switch, bps, new.height):
                self._keep_rendition(signal, bps)
                return
            self._observe_rendition(signal, bps)
        elif signal.kind in _REQUESTS:
            self._observe_rendition(signal, bps)
        self._keep_rendition(signal, bps)

    def _observe_rendition(self, signal: Signal, bps: float | None) -> None:
        assert signal.rendition is not None, "the signal has a rendition"
        if bps is not None:
            self._observe(ObservationKind.RENDITION, bps)
        height = signal.rendition.height
        if height is not None:
            self._observe(ObservationKind.RENDITION_SHOWN, None, resolution_name(height or None))

    def _switched(self, switch: Switch, bps: float | None, height: float | None) -> bool:
        """Observes a switch; returns whether the rendition is another one, or a first one."""
        playback = self._playback
        before_bps, before_height = switch.previous_bps or playback.bps, playback.height
        direction = _direction(before_bps, bps) or _direction(before_height, height or None)
        if direction is None and (switch.previous_bps is not None or switch.trigger is not None):
            direction = "same"  # the page reports a switch
        if direction is None:
            return before_bps is None and before_height is None
        playback.upshifts += direction == "upshift"
        playback.downshifts += direction == "downshift"
        self._out.append(
            Observation(
                ObservationKind.QUALITY_SWITCH,
                NO_EVENT,
                self._view,
                bps,
                direction,
                switch.trigger or "unknown",
            )
        )
        if before_bps is not None:
            self._observe(ObservationKind.RENDITION_REPLACED, before_bps)
        return True

    def _keep_rendition(self, signal: Signal, bps: float | None) -> None:
        playback, new = self._playback, signal.rendition
        assert new is not None, "the signal has a rendition"
        if signal.kind is not SignalKind.PROGRESS or playback.bps is None:
            playback.bps = bps or playback.bps
        playback.height = new.height or playback.height
        if new.fps is not None and new.fps <= MAX_COUNTED_FPS:
            playback.fps = new.fps
        if new.upscale is not None:
            playback.upscale, playback.downscale = new.upscale, new.downscale


_Handler = Callable[[_Settlement, Signal], None]

_HANDLERS: dict[SignalKind, _Handler] = {
    SignalKind.LOADED: _Settlement._loaded,
    SignalKind.PLAYING: _Settlement._playing,
    SignalKind.PROGRESS: _Settlement._made_progress,
    SignalKind.SEEK_BEGIN: _Settlement._seek_begin,
    SignalKind.SEEK_END: _Settlement._seek_end,
    SignalKind.PAUSED: _Settlement._paused,
    SignalKind.ENDED: _Settlement._ended,
    SignalKind.FATAL_ERROR: _Settlement._failed,
    SignalKind.ERROR: _Settlement._error,
    SignalKind.LEFT: _Settlement._left,
    SignalKind.ACTIVE: _Settlement._active,
}


def _waits_at_once(signal: Signal, window: Sequence[Signal], following: int) -> bool:
    """Whether a stall follows a play request at once: it is the start-up wait."""
    for later in window[following:]:
        if later.at > signal.at + START_GRACE:
            return False
        if later.kind is SignalKind.STALL_BEGIN:
            return True
    return False


def _is_part_of_seek(stall: Signal, window: Sequence[Signal], following: int) -> bool:
    """Whether a seek explains a stall: its target is the stall's position, and it began before.

    The SDK sends ``seek`` when it is over, before or after the end of the stall. video.js recovers
    from a real stall by seeking to its own position: a seek that began after the stall is a remedy,
    not the cause.
    """
    ended: float | None = None
    for later in window[following:]:
        if ended is not None and later.at > ended + SEEK_LAG:
            return False
        kind = later.kind
        if kind is SignalKind.STALL_END and ended is None:
            ended = later.at
        elif kind in _SEEKS:
            target = _target(later)
            is_near = (
                stall.position is not None
                and target is not None
                and abs(stall.position - target) <= SEEK_TARGET_TOLERANCE
            )
            if kind is SignalKind.SEEK_BEGIN:
                return is_near and later.at <= stall.at + SEEK_CLOCK_TOLERANCE
            return is_near
    return False


def _target(seek: Signal) -> float | None:
    return seek.position if seek.target is None else seek.target


def _direction(before: float | None, after: float | None) -> str | None:
    if before is None or after is None or before == after:
        return None
    return "upshift" if after > before else "downshift"


def _first(known: float | None, new: float | None) -> float | None:
    return new if known is None else known


_NO_MEASURES: Final = Measures()
