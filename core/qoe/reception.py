"""What a batch says about a view in whatever order the batches arrive."""

from collections.abc import Sequence
from typing import Final

import msgspec

from .observation import NO_EVENT, Observation
from .playback_state import EVIDENCE, Mark, Playback
from .rendition_changes import picture_bps
from .reorder_window import extend_window, rank_signals
from .signals import REQUESTS, Signal, SignalKind
from .totals import CLOCK_TOLERANCE, RESTARTS_KEPT, Doubt, RunningTotal
from .view import View
from .vocabulary import ObservationKind

# By name: a look-up in the enum takes as long as two calls in Python 3.11.
_ENDED: Final = SignalKind.ENDED
_SEEK_BEGIN: Final = SignalKind.SEEK_BEGIN
_SAYS_NOTHING: Final = frozenset({SignalKind.REPORT, SignalKind.HIDDEN, SignalKind.VISIBLE})
_BEGINNINGS: Final = frozenset(
    {SignalKind.LOADED, SignalKind.READY, SignalKind.PLAY_REQUESTED, SignalKind.PLAY_WAIT}
)
_RESTARTS: Final = frozenset({SignalKind.LOADED, SignalKind.READY})
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


def receive(view: View, signals: Sequence[Signal], now: int, applied_at: int) -> list[Observation]:
    """Takes the signals of a batch; returns what holds whatever arrives later.

    Args:
        view: The view.
        signals: Its signals in the batch, at least one.
        now: Time of arrival, ms.
        applied_at: See ``playback.apply_signals``.
    """
    playback = view.playback
    ordered = _by_the_first_clock(playback, rank_signals(signals), now)
    out: list[Observation] = []
    _note_clock(playback, ordered[-1].at, now)
    first_at = _first_event_at(ordered)
    if playback.first_at is None or first_at < playback.first_at:
        playback.first_at = first_at
    for signal in ordered:
        _note_marks(view, signal, out)
        if signal.played is not None or signal.dropped is not None:
            _note_totals(view, signal, out)
    _note_newest(playback, ordered)
    until = playback.applied_until
    if until is not None and ordered[0].at <= until:
        latest = (until, *playback.applied_order)
        in_time = []
        for signal in ordered:
            if (signal.at, signal.number, signal.kind) > latest:
                in_time.append(signal)
            else:
                _note_late(view, signal, out)
        ordered = in_time
    extend_window(playback, ordered, applied_at)
    return out


def _first_event_at(ordered: Sequence[Signal]) -> float:
    """When the first event happened, ms: the begin of a seek is no event of most players."""
    for signal in ordered:
        if signal.kind is not _SEEK_BEGIN:
            return signal.at
    return ordered[0].at


def _by_the_first_clock(playback: Playback, ordered: list[Signal], now: int) -> list[Signal]:
    """Moves signals ahead whose clock was set back during the view.

    They lie before all that was applied, as a late batch does; but their running total has gone on.
    """
    until, total, behind = playback.applied_until, playback.played, playback.clock_behind
    if until is None or (not behind and ordered[-1].at > until):  # most often
        return ordered
    if (
        total is not None
        and playback.lead is not None
        and ordered[-1].at + behind <= until
        and any(
            signal.played is not None
            and total.shows_clock_set_back(signal.played, signal.at + behind)
            for signal in ordered
        )
    ):
        behind = playback.clock_behind = playback.lead - (ordered[-1].at - now)
    if not behind:
        return ordered
    return [msgspec.structs.replace(signal, at=signal.at + behind) for signal in ordered]


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
    playback, kind = view.playback, signal.kind
    marks = playback.marks
    if signal.generation:
        playback.generation = signal.generation
    if not signal.reports_totals:
        marks |= Mark.WITHOUT_TOTALS
    if signal.is_live:
        marks |= Mark.LIVE
    if signal.quartile is not None:
        bit = Mark.QUARTILES << (signal.quartile // 25 - 1)
        if not marks & bit:
            marks |= bit
            label = str(signal.quartile)
            out.append(Observation(ObservationKind.QUARTILE_REACHED, NO_EVENT, view, None, label))
    if kind in _SAYS_NOTHING:  # half of all
        playback.marks = marks
        return
    if not marks & Mark.LOADED:
        marks |= Mark.LOADED
        out.append(Observation(ObservationKind.VIEW_LOADED, NO_EVENT, view))
    if kind in _BEGINNINGS:
        marks |= Mark.BEGAN
        at = signal.at
        if playback.began_at is None or at < playback.began_at:
            playback.began_at = at
        if kind in _RESTARTS and at not in playback.restarts:
            playback.restarts = tuple(sorted((*playback.restarts, at)))[-RESTARTS_KEPT:]
    if kind in REQUESTS and not marks & Mark.REQUESTED:
        marks |= Mark.REQUESTED
        out.append(Observation(ObservationKind.VIEW_STARTED, NO_EVENT, view))
    if kind is _ENDED and not marks & Mark.ENDED:
        marks |= Mark.ENDED
        out.append(Observation(ObservationKind.VIEW_COMPLETED, NO_EVENT, view))
    playback.marks = marks


def _note_newest(playback: Playback, ordered: Sequence[Signal]) -> None:
    """Notes what the newest signal says about the present, if the batch has it."""
    newest, known_at = ordered[-1], playback.playing_at
    if newest.at < known_at:
        return
    playback.playing_at = newest.at
    playback.is_hidden = newest.kind is SignalKind.HIDDEN
    playback.is_over = newest.kind in _ENDS
    for signal in reversed(ordered):
        if signal.at < known_at:
            return
        if signal.kind in _PLAYS or signal.kind in _STOPS:
            playback.is_playing = signal.kind in _PLAYS
            return


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
            if playback.applied_until is not None and at <= playback.applied_until:
                # It reports what the position has shown already.
                playback.unreported_s = max(0.0, playback.unreported_s - increase)
            out.append(Observation(ObservationKind.MEDIA_PLAYED, NO_EVENT, view, increase))
    if signal.dropped is not None:
        if playback.dropped is None:
            playback.dropped = RunningTotal()
            if is_baseline:
                playback.dropped.set_baseline(signal.dropped, at)
        frames = playback.dropped.advance(signal.dropped, at, playback.restarts)
        if frames:
            playback.dropped_waiting += frames
            playback.frames_dropped += frames
            out.append(Observation(ObservationKind.FRAMES_DROPPED, NO_EVENT, view, frames))


def _note_late(view: View, signal: Signal, out: list[Observation]) -> None:
    """Takes from a signal that arrived too late for the states what does not depend on them."""
    playback, rendition = view.playback, signal.rendition
    if signal.kind is SignalKind.PROGRESS and rendition is not None and rendition.bps is not None:
        bps = picture_bps(playback, rendition.bps)
        out.append(Observation(ObservationKind.HEARTBEAT_BITRATE, NO_EVENT, view, bps))
    if signal.duration is not None and playback.duration is None:
        playback.duration = signal.duration
    if signal.position is not None and signal.position > playback.furthest:
        playback.furthest = signal.position
