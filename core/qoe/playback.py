"""The playback state machine of a view: derives observations from events.

``HANDLERS`` is the table of transitions by kind of event. The metric catalogue counts and measures
the observations. Observations that hold once a view are emitted once, even if events are repeated.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..events.event_types import Event
from . import fields, stalls
from .fields import event_data
from .observation import NO_EVENT, Observation
from .totals import RunningTotal
from .view import View
from .vocabulary import GENERATION_BY_EVENT_TYPE, KIND_BY_EVENT_TYPE, RESTART_KINDS, ObservationKind

Handler = Callable[[View, Event, list[Observation]], None]

PAUSE_BEFORE_END = 50
"""ms before the end within which a pause comes from the player, not from the viewer."""

STARTUP_FROM_PLAYING = frozenset({"shaka", "videojs"})
"""Second-generation players that report the startup time in ``playing``."""


_VIEW_START = ObservationKind.VIEW_START  # compared for every event


class EventRule(NamedTuple):
    """How events of one type affect their view.

    Attributes:
        kind: The kind of the events.
        generation: The SDK generation, if only one sends such events, else 0.
        is_restart: Whether running totals may restart after such an event.
        handler: Updates the view and emits observations.
    """

    kind: ObservationKind
    generation: int
    is_restart: bool
    handler: Handler | None


def rule_for(event_type: str) -> EventRule:
    """Returns the rule of an event type."""
    return _RULES.get(event_type, _CUSTOM_RULE)


def apply_event(view: View, event: Event, rule: EventRule) -> Sequence[Observation]:
    """Updates a view by one of its events; returns the observations in order."""
    kind, generation, is_restart, handler = rule
    out: list[Observation] = []
    if not generation and kind is _VIEW_START:
        generation = 0 if fields.player_name(event) in STARTUP_FROM_PLAYING else 1
    if generation and generation != view.milestones.generation:
        view.reach_milestone("generation", generation)
    if view.stall is not None or view.open_pause is not None:
        _resolve_before(view, event, kind, out)
    if is_restart:
        view.record_restart(event.event_time)
    if handler is not None:
        handler(view, event, out)
    if event.playback_time is not None:
        view.record_position(event.playback_time / 1000, event.event_time)
    return out


def resolve_pending(view: View, event: Event = NO_EVENT) -> list[Observation]:
    """Classifies the open stall and confirms the open pause: no later event will explain them."""
    out: list[Observation] = []
    _resolve_pause(view, event, out)
    stalls.resolve_stall(view, event, out)
    return out


def expire_view(view: View) -> list[Observation]:
    """Ends a view after the time-out; returns its last observations."""
    out = resolve_pending(view)
    reached = view.milestones
    if not reached.completion_observed and reached.quartile:
        view.reach_milestone("completion_observed")
        out.append(Observation(ObservationKind.COMPLETION, NO_EVENT, view, reached.quartile / 100))
    return out


def is_pending(view: View) -> bool:
    """Whether a stall or a pause of the view awaits its classification."""
    return view.open_pause is not None or (view.stall is not None and view.stall.cause is None)


def _resolve_before(
    view: View, event: Event, kind: ObservationKind, out: list[Observation]
) -> None:
    if view.open_pause is not None:
        if (
            kind is ObservationKind.ENDED
            and abs(event.event_time - view.open_pause) <= PAUSE_BEFORE_END
        ):
            view.open_pause = None
        elif kind is not ObservationKind.QUARTILE:
            _resolve_pause(view, event, out)
    stall = view.stall
    if stall is None:
        return
    if stalls.is_past_seek_lag(stall, event.event_time):
        stalls.resolve_stall(view, event, out)
        return
    if kind is ObservationKind.SEEK:
        stalls.attribute_to_seek(view, event, out)
    if kind in (ObservationKind.PLAY, ObservationKind.SEEK, ObservationKind.HEARTBEAT):
        stalls.close_on_progress(view, event, kind, out)


def _resolve_pause(view: View, event: Event, out: list[Observation]) -> None:
    if view.open_pause is not None:
        view.open_pause = None
        out.append(Observation(ObservationKind.VIEWER_PAUSE, event, view))


def _start(view: View, event: Event, out: list[Observation]) -> None:
    if not view.milestones.started:
        view.reach_milestone("started")
        out.append(Observation(ObservationKind.VIEW_STARTED, event, view))


def _player_ready(view: View, event: Event, out: list[Observation]) -> None:
    if view.player_startup_ms is None:
        view.player_startup_ms = event_data(event).player_startup_time
    _startup_from_can_play(view, event, out)


def _can_play(view: View, event: Event, out: list[Observation]) -> None:
    if view.can_play_ms is None:
        view.can_play_ms = event_data(event).video_startup_time
    _startup_from_can_play(view, event, out)


def _startup_from_can_play(view: View, event: Event, out: list[Observation]) -> None:
    """Derives the startup time in the second generation, where both times count from navigation.

    Only the first canplay counts: later ones, after seeks and stalls, report larger times.
    """
    ready, can_play = view.player_startup_ms, view.can_play_ms
    if view.milestones.startup_known or ready is None or can_play is None:
        return
    startup = fields.seconds(can_play - ready)
    if startup is not None:
        view.reach_milestone("startup_known")
        out.append(Observation(ObservationKind.STARTUP, event, view, startup, "canplay"))


def _play(view: View, event: Event, out: list[Observation]) -> None:
    _start(view, event, out)
    startup = fields.seconds(event_data(event).video_startup_time)
    # Only the first play request reports the startup; the field keeps growing on later resumes.
    reached = view.milestones
    if not reached.play_requested:
        view.reach_milestone("play_requested")
        if not reached.startup_known and startup is not None:
            view.reach_milestone("startup_known")
            out.append(Observation(ObservationKind.STARTUP, event, view, startup, "playing"))
    view.record_playing(True, event.event_time)
    bps = _video_bps(view, event)
    view.video_bps = bps or view.video_bps
    view.height = fields.height(event) or view.height
    out.append(Observation(ObservationKind.RENDITION, event, view, bps))


def _pause(view: View, event: Event, out: list[Observation]) -> None:
    _played(view, event, out)
    view.record_playing(False, event.event_time)
    view.open_pause = event.event_time


def _heartbeat(view: View, event: Event, out: list[Observation]) -> None:
    _played(view, event, out)
    view.record_playing(True, event.event_time)
    total = fields.dropped_frames_total(event)
    if total is not None:
        if view.dropped_frames is None:
            view.dropped_frames = RunningTotal()
        increase = view.dropped_frames.advance(total, event.event_time, view.restarts)
        if increase:
            out.append(Observation(ObservationKind.FRAMES_DROPPED, event, view, increase))
    bps = _video_bps(view, event)
    if bps is not None:
        out.append(Observation(ObservationKind.HEARTBEAT_BITRATE, event, view, bps))


def _video_bps(view: View, event: Event) -> float | None:
    """The bit rate of the picture: dash.js reports the latest change, even that of the sound."""
    bps = fields.rendition_bps(event)
    if bps is not None and bps == view.audio_bps and view.video_bps is not None:
        return view.video_bps
    return bps


def _quartile(view: View, event: Event, out: list[Observation]) -> None:
    _played(view, event, out)
    quartile = event_data(event).quartile
    if quartile is None or quartile not in (25, 50, 75, 100):
        return
    number, reached = int(quartile), view.milestones
    if number not in reached.quartiles:
        view.reach_milestone("quartiles", reached.quartiles | {number})
        out.append(Observation(ObservationKind.QUARTILE_REACHED, event, view, None, str(number)))


def _ended(view: View, event: Event, out: list[Observation]) -> None:
    _played(view, event, out)
    view.record_playing(False, event.event_time)
    if view.milestones.completed:
        return
    view.reach_milestone("completed")
    out.append(Observation(ObservationKind.VIEW_COMPLETED, event, view))
    ratio = fields.completion_ratio(event)
    if ratio is not None and not view.milestones.completion_observed:
        view.reach_milestone("completion_observed")
        out.append(Observation(ObservationKind.COMPLETION, event, view, ratio))


def _detached(view: View, event: Event, out: list[Observation]) -> None:
    view.record_playing(False, event.event_time)


def _played(view: View, event: Event, out: list[Observation]) -> None:
    total = fields.played_total_s(event)
    if total is None:
        return
    if total > 0 and not view.milestones.progressed:
        view.reach_milestone("progressed")
    if view.played is None:
        view.played = RunningTotal()
    increase = view.played.advance(total, event.event_time, view.restarts)
    if increase:
        out.append(Observation(ObservationKind.MEDIA_PLAYED, event, view, increase))


def _quality_change(view: View, event: Event, out: list[Observation]) -> None:
    """Compares a rendition with the previous one; the first report is the initial choice.

    video.js repeats the event without a change, and Shaka's adapters also send it for sound.
    """
    data = event_data(event)
    bps, pixels = fields.rendition_bps(event), fields.height(event)
    if data.media_type == "audio":
        view.audio_bps = bps or view.audio_bps
        return
    reported_bps = fields.previous_bps(event)
    before_bps, before_pixels = reported_bps or view.video_bps, view.height
    view.video_bps = bps or view.video_bps
    view.height = pixels or view.height
    direction = _direction(before_bps, bps) or _direction(before_pixels, pixels)
    if direction is None and (reported_bps is not None or data.trigger is not None):
        direction = "same"  # the page reports a switch
    if direction is None and not (before_bps is None and before_pixels is None):
        return
    out.append(Observation(ObservationKind.RENDITION, event, view, bps))
    if direction is not None:
        out.append(Observation(ObservationKind.QUALITY_SWITCH, event, view, bps, direction))
        if before_bps is not None:
            out.append(Observation(ObservationKind.RENDITION_REPLACED, event, view, before_bps))


def _direction(before: float | None, after: float | None) -> str | None:
    if before is None or after is None or before == after:
        return None
    return "upshift" if after > before else "downshift"


HANDLERS: dict[ObservationKind, Handler] = {
    ObservationKind.PLAYER_READY: _player_ready,
    ObservationKind.VIEW_START: _start,
    ObservationKind.CAN_PLAY: _can_play,
    ObservationKind.PLAY: _play,
    ObservationKind.PAUSE: _pause,
    ObservationKind.STALL_START: stalls.start_stall,
    ObservationKind.STALL_END: stalls.end_stall,
    ObservationKind.QUALITY_CHANGE: _quality_change,
    ObservationKind.HEARTBEAT: _heartbeat,
    ObservationKind.QUARTILE: _quartile,
    ObservationKind.ENDED: _ended,
    ObservationKind.DETACHED: _detached,
}

_CUSTOM_RULE = EventRule(ObservationKind.OTHER, 0, False, None)
_RULES: dict[str, EventRule] = {}
for _event_type in (*KIND_BY_EVENT_TYPE, *GENERATION_BY_EVENT_TYPE):
    _kind = KIND_BY_EVENT_TYPE.get(_event_type, ObservationKind.OTHER)
    _RULES[_event_type] = EventRule(
        _kind,
        GENERATION_BY_EVENT_TYPE.get(_event_type, 0),
        _kind in RESTART_KINDS,
        HANDLERS.get(_kind),
    )

KINDS_USING_DATA = frozenset({*HANDLERS, ObservationKind.SEEK})
"""Kinds whose handling reads the event's data; that of a seek may explain a stall."""
