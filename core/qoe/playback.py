"""What an event means for its view: the state machine that turns events into facts.

``HANDLERS`` is the table: for each kind of event, what follows from it. The facts come out
as moments, which the metric catalogue counts and measures. Facts that hold once a view are
emitted once, whatever is sent twice.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..events.event_types import Event
from . import fields, stalls
from .fields import data_of
from .observation import SILENCE, Observation
from .totals import RunningTotal
from .view import View
from .vocabulary import GENERATIONS, KINDS, RESTARTS, Kind

Handler = Callable[[View, Event, list[Observation]], None]

PAUSE_BEFORE_END = 50
"""ms; players pause right before they end, which is no pause of the viewer's."""

STARTUP_FROM_PLAYING = frozenset({"shaka", "videojs"})
"""Second-generation players that report the startup time with ``playing``."""


_VIEW_START = Kind.VIEW_START  # looked at for every event


class Meaning(NamedTuple):
    """What events of a type mean for their view.

    Attributes:
        kind: What they are about.
        generation: The generation of the SDK that alone sends them, 0 if both do.
        is_restart: Whether running totals may begin anew after them.
        handler: What follows from them, if anything does.
    """

    kind: Kind
    generation: int
    is_restart: bool
    handler: Handler | None


def meaning_of(event_type: str) -> Meaning:
    """What events of a type mean: one look-up, where each of its parts would be one."""
    return _MEANINGS.get(event_type, _CUSTOM)


def follow(view: View, event: Event, meaning: Meaning) -> Sequence[Observation]:
    """Let a view follow one of its events; returns the facts in order."""
    kind, generation, is_restart, handler = meaning
    out: list[Observation] = []
    if not generation and kind is _VIEW_START:
        generation = 0 if fields.player_of(event) in STARTUP_FROM_PLAYING else 1
    if generation and generation != view.milestones.generation:
        view.reach("generation", generation)
    if view.stall is not None or view.open_pause is not None:
        _settle_before(view, event, kind, out)
    if is_restart:
        view.note_restart(event.event_time)
    if handler is not None:
        handler(view, event, out)
    if event.playback_time is not None:
        view.note_position(event.playback_time / 1000, event.event_time)
    return out


def settle(view: View, event: Event = SILENCE) -> list[Observation]:
    """Decide what waits for an explanation; none will come."""
    out: list[Observation] = []
    _count_pause(view, event, out)
    stalls.settle(view, event, out)
    return out


def expire(view: View) -> list[Observation]:
    """The view has been silent for long: it has ended where it was."""
    out = settle(view)
    reached = view.milestones
    if not reached.completion_told and reached.quartile:
        view.reach("completion_told")
        out.append(Observation(Kind.COMPLETION, SILENCE, view, reached.quartile / 100))
    return out


def is_pending(view: View) -> bool:
    """Whether something about the view waits for an explanation."""
    return view.open_pause is not None or (view.stall is not None and view.stall.cause is None)


def _settle_before(view: View, event: Event, kind: Kind, out: list[Observation]) -> None:
    if view.open_pause is not None:
        if kind is Kind.ENDED and abs(event.event_time - view.open_pause) <= PAUSE_BEFORE_END:
            view.open_pause = None
        elif kind is not Kind.QUARTILE:
            _count_pause(view, event, out)
    stall = view.stall
    if stall is None:
        return
    if stalls.is_over(stall, event.event_time):
        stalls.settle(view, event, out)
        return
    if kind is Kind.SEEK:
        stalls.explain(view, event, out)
    if kind in (Kind.PLAY, Kind.SEEK, Kind.HEARTBEAT):
        stalls.notice_progress(view, event, kind, out)


def _count_pause(view: View, event: Event, out: list[Observation]) -> None:
    if view.open_pause is not None:
        view.open_pause = None
        out.append(Observation(Kind.PAUSED, event, view))


def _start(view: View, event: Event, out: list[Observation]) -> None:
    if not view.milestones.started:
        view.reach("started")
        out.append(Observation(Kind.VIEW_STARTED, event, view))


def _player_ready(view: View, event: Event, out: list[Observation]) -> None:
    if view.player_startup_ms is None:
        view.player_startup_ms = data_of(event).player_startup_time
    _startup_from_can_play(view, event, out)


def _can_play(view: View, event: Event, out: list[Observation]) -> None:
    if view.can_play_ms is None:
        view.can_play_ms = data_of(event).video_startup_time
    _startup_from_can_play(view, event, out)


def _startup_from_can_play(view: View, event: Event, out: list[Observation]) -> None:
    """Second generation: both times count from navigation, and only the first canplay tells
    the startup (it comes again, growing, after each seek and stall)."""
    ready, can_play = view.player_startup_ms, view.can_play_ms
    if view.milestones.startup_known or ready is None or can_play is None:
        return
    if can_play >= ready:
        view.reach("startup_known")
        out.append(Observation(Kind.STARTUP, event, view, (can_play - ready) / 1000, "canplay"))


def _play(view: View, event: Event, out: list[Observation]) -> None:
    _start(view, event, out)
    startup = fields.seconds(data_of(event).video_startup_time)
    # Only the first play request tells the startup; on a resume the same field has grown.
    reached = view.milestones
    if not reached.play_requested and not reached.startup_known and startup is not None:
        view.reach("startup_known")
        out.append(Observation(Kind.STARTUP, event, view, startup, "playing"))
    if not reached.play_requested:
        view.reach("play_requested")
    view.note_playing(True, event.event_time)
    bps = _video_bps(view, event)
    view.video_bps = bps or view.video_bps
    view.height = fields.height(event) or view.height
    out.append(Observation(Kind.RENDITION, event, view, bps))


def _pause(view: View, event: Event, out: list[Observation]) -> None:
    _played(view, event, out)
    view.note_playing(False, event.event_time)
    view.open_pause = event.event_time


def _heartbeat(view: View, event: Event, out: list[Observation]) -> None:
    _played(view, event, out)
    view.note_playing(True, event.event_time)
    total = fields.dropped_frames_total(event)
    if total is not None:
        if view.dropped_frames is None:
            view.dropped_frames = RunningTotal()
        increase = view.dropped_frames.advance(total, event.event_time, view.restarts)
        if increase:
            out.append(Observation(Kind.FRAMES_DROPPED, event, view, increase))
    bps = _video_bps(view, event)
    if bps is not None:
        out.append(Observation(Kind.HEARTBEAT_BITRATE, event, view, bps))


def _video_bps(view: View, event: Event) -> float | None:
    """dash.js reports the bit rate that changed last, be it the sound's."""
    bps = fields.rendition_bps(event)
    if bps is not None and bps == view.audio_bps and view.video_bps is not None:
        return view.video_bps
    return bps


def _quartile(view: View, event: Event, out: list[Observation]) -> None:
    _played(view, event, out)
    quartile = data_of(event).quartile
    if quartile is None or quartile not in (25, 50, 75, 100):
        return
    number, reached = int(quartile), view.milestones
    if number not in reached.quartiles:
        view.reach("quartiles", reached.quartiles | {number})
        out.append(Observation(Kind.QUARTILE_REACHED, event, view, None, str(number)))


def _ended(view: View, event: Event, out: list[Observation]) -> None:
    _played(view, event, out)
    view.note_playing(False, event.event_time)
    if view.milestones.completed:
        return
    view.reach("completed")
    out.append(Observation(Kind.VIEW_COMPLETED, event, view))
    ratio = fields.completion_ratio(event)
    if ratio is not None and not view.milestones.completion_told:
        view.reach("completion_told")
        out.append(Observation(Kind.COMPLETION, event, view, ratio))


def _detached(view: View, event: Event, out: list[Observation]) -> None:
    view.note_playing(False, event.event_time)


def _played(view: View, event: Event, out: list[Observation]) -> None:
    total = fields.played_total_s(event)
    if total is None:
        return
    if total > 0 and not view.milestones.progressed:
        view.reach("progressed")
    if view.played is None:
        view.played = RunningTotal()
    increase = view.played.advance(total, event.event_time, view.restarts)
    if increase:
        out.append(Observation(Kind.PLAYED, event, view, increase))


def _quality_change(view: View, event: Event, out: list[Observation]) -> None:
    """A switch is a change against what the view had before; the first report is the
    initial choice. video.js repeats the event without any change, Shaka's adapters for
    sound send it too."""
    data = data_of(event)
    bps, pixels = fields.rendition_bps(event), fields.height(event)
    if data.media_type == "audio":
        view.audio_bps = bps or view.audio_bps
        return
    told_bps = fields.previous_bps(event)
    before_bps, before_pixels = told_bps or view.video_bps, view.height
    view.video_bps = bps or view.video_bps
    view.height = pixels or view.height
    direction = _direction(before_bps, bps) or _direction(before_pixels, pixels)
    if direction is None and (told_bps is not None or data.trigger is not None):
        direction = "same"  # the page says that it has switched
    if direction is None and not (before_bps is None and before_pixels is None):
        return
    out.append(Observation(Kind.RENDITION, event, view, bps))
    if direction is not None:
        out.append(Observation(Kind.QUALITY_SWITCH, event, view, bps, direction))
        if before_bps is not None:
            out.append(Observation(Kind.RENDITION_LEFT, event, view, before_bps))


def _direction(before: float | None, after: float | None) -> str | None:
    if before is None or after is None or before == after:
        return None
    return "upshift" if after > before else "downshift"


HANDLERS: dict[Kind, Handler] = {
    Kind.PLAYER_READY: _player_ready,
    Kind.VIEW_START: _start,
    Kind.CAN_PLAY: _can_play,
    Kind.PLAY: _play,
    Kind.PAUSE: _pause,
    Kind.STALL_START: stalls.begin,
    Kind.STALL_END: stalls.end,
    Kind.QUALITY_CHANGE: _quality_change,
    Kind.HEARTBEAT: _heartbeat,
    Kind.QUARTILE: _quartile,
    Kind.ENDED: _ended,
    Kind.DETACHED: _detached,
}

_CUSTOM = Meaning(Kind.OTHER, 0, False, None)
_MEANINGS: dict[str, Meaning] = {}
for _event_type in (*KINDS, *GENERATIONS):
    _kind = KINDS.get(_event_type, Kind.OTHER)
    _MEANINGS[_event_type] = Meaning(
        _kind, GENERATIONS.get(_event_type, 0), _kind in RESTARTS, HANDLERS.get(_kind)
    )

LOOKS_AT_DATA = frozenset({*HANDLERS, Kind.SEEK})
"""Events whose own data matters to what follows; a seek's may explain a stall."""
