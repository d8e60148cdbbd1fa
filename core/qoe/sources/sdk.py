"""The SDKs of both generations as a source: what their events mean, by player.

``RULES`` holds what events mean, ``RULES_BY_PLAYER`` what differs. The traps come from the recorded
SDKs (``tests/captures``):

- ``playing`` is the DOM's ``play``, a request; from dash.js of the second generation it is the
  DOM's ``playing``, and then carries a position under the name of a running total.
- ``seek`` is sent when the seek is over. Its latency gives its begin; html5 of the first
  generation measures from the navigation instead, which is before all events of the view.
- dash.js of the second generation reports waits only of a player that was asked to play, and the
  end of one with the DOM's ``play``: it is the request to resume. It loads the manifest of a live
  stream again and again.
- Which errors are fatal is not on the wire (``qoe-metrics``, "Fatal on the SDK's wire"): each of
  html5 and video.js is, one of Shaka if it is critical, some of hls.js by their name.
- A business error (the page's own) never fails a view.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from ...events.event_types import Data, Event
from .. import fields
from ..fields import NO_DATA, player_name, position_s, seconds
from ..signals import Measures, Rendition, Signal, SignalKind, Switch
from ..vocabulary import generations_of

SDK_PLAYERS: Final = frozenset({"html5", "videojs", "hlsjs", "dashjs", "shaka"})
"""The players that the SDK has adapters for, by their names in events. They report each wait."""

ALWAYS_FATAL: Final = frozenset({"html5", "videojs", "dashjs"})
"""Players whose every error is a MediaError, or ends playback."""

FATAL_HLS_PREFIXES: Final = ("manifest", "levelEmpty", "keySystem")
"""Beginnings of the hls.js errors that end playback if nothing is played after them."""

CRITICAL: Final = 2
"""Severity of a critical error of Shaka."""

LIVE: Final = frozenset({"live", "l", "ll"})


# Looking up an enum member takes as long as two calls in Python 3.11.
_REPORT: Final = SignalKind.REPORT


class Sender(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What the events of one player and video have in common.

    Attributes:
        player: Its name.
        duration: Duration of the video, s or ms.
        is_live: Whether the video is live.
        reports_stalls: Whether the player reports each wait.
        generations: The SDK generation that an event type shows, if it shows one.
        rules: What its events mean, by type.
    """

    player: str
    duration: float | None
    is_live: bool
    reports_stalls: bool
    generations: Mapping[str, int]
    rules: Mapping[str, "Rule"]


Rule = Callable[[Event, Data, Sender], tuple[Signal, ...]]


def signals_of(event: Event) -> Sequence[Signal]:
    """Returns what an event says about its view."""
    return signals_of_run((event,))


def signals_of_run(events: Sequence[Event]) -> list[Signal]:
    """Returns what events of one player and video say about their view, at least one signal each.

    What they have in common is read once, which saves two fifths of the cost.
    """
    sender = _sender_of(events[0])
    signals: list[Signal] = []
    for event in events:
        rule = sender.rules.get(event.event_type)
        if rule is None:
            signals.append(_signal(event, _REPORT, sender))  # half of all
        else:
            signals += rule(event, event.data or NO_DATA, sender)
    return signals


def _sender_of(event: Event) -> Sender:
    player, video = player_name(event), event.video
    return Sender(
        player,
        None if video is None else fields.duration(video.duration),
        video is not None and (video.content_type in LIVE or video.stream_type in LIVE),
        player in SDK_PLAYERS,
        generations_of(player),
        RULES_BY_PLAYER.get(player, RULES),
    )


def _signal(
    event: Event,
    kind: SignalKind,
    sender: Sender,
    *,
    value: float | None = None,
    target: float | None = None,
    played: float | None = None,
    dropped: float | None = None,
    quartile: int | None = None,
    rate: float | None = None,
    rendition: Rendition | None = None,
    switch: Switch | None = None,
    measures: Measures | None = None,
) -> Signal:
    return Signal(  # by position, which costs less than by name
        event.event_time,
        kind,
        fields.position(event.playback_time),
        value,
        target,
        played,
        dropped,
        quartile,
        rate,
        sender.duration,
        rendition,
        switch,
        measures,
        sender.is_live,
        sender.reports_stalls,
        True,
        sender.generations.get(event.event_type, 0),
    )


def _simple(kind: SignalKind) -> Rule:
    def rule(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
        return (_signal(event, kind, sender),)

    return rule


def _player_ready(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    measures = Measures(
        page_load=fields.page_load_s(event), player_startup=fields.player_startup_s(event)
    )
    return (_signal(event, SignalKind.READY, sender, measures=measures),)


def _can_play(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    measures = Measures(can_play=seconds(data.video_startup_time))
    return (_signal(event, SignalKind.REPORT, sender, measures=measures),)


def _play(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    return (_play_signal(event, SignalKind.PLAY_REQUESTED, data, sender),)


def _dash_playing(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    # Only the second generation sends a position in it.
    kind = SignalKind.PLAY_REQUESTED if data.playing_time is None else SignalKind.PLAYING
    return (_play_signal(event, kind, data, sender),)


def _dash_stall_end(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    return (_signal(event, SignalKind.PLAY_REQUESTED, sender, value=0.0),)


def _play_signal(event: Event, kind: SignalKind, data: Data, sender: Sender) -> Signal:
    play = seconds(data.video_startup_time)
    measures = None
    if play is not None:
        measures = Measures(play=play, is_startup_documented=not sender.reports_stalls)
    return _signal(event, kind, sender, rendition=_rendition(event, data), measures=measures)


def _pause(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    return (_signal(event, SignalKind.PAUSED, sender, played=fields.played_total_s(event)),)


def _seek(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    target = position_s(event) if data.to is None else fields.position(data.to)
    end = _signal(event, SignalKind.SEEK_END, sender, target=target)
    latency = seconds(data.seek_latency)
    if latency is None:
        return (end,)
    begin = Signal(
        event.event_time - latency * 1000,
        SignalKind.SEEK_BEGIN,
        None,
        target=target,
        reports_stalls=sender.reports_stalls,
    )
    return (begin, end)


def _stall_end(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    return (_signal(event, SignalKind.STALL_END, sender, value=seconds(data.stall_duration)),)


def _heartbeat(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    return (
        _signal(
            event,
            SignalKind.PROGRESS,
            sender,
            played=fields.played_total_s(event),
            dropped=fields.dropped_frames_total(event),
            rendition=_rendition(event, data),
        ),
    )


def _quartile(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    quartile = data.quartile
    return (
        _signal(
            event,
            SignalKind.REPORT,
            sender,
            played=fields.played_total_s(event),
            quartile=int(quartile) if quartile in (25, 50, 75, 100) else None,
        ),
    )


def _ended(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    return (
        _signal(
            event,
            SignalKind.ENDED,
            sender,
            value=fields.completion_ratio(event),
            played=fields.played_total_s(event),
        ),
    )


def _error(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    if data.error_family == "business":
        return (_signal(event, SignalKind.REPORT, sender),)
    if sender.player in ALWAYS_FATAL:
        return (_signal(event, SignalKind.FATAL_ERROR, sender),)
    context = data.error_context
    is_critical = fields.error_code(event).startswith(FATAL_HLS_PREFIXES) or (
        context is not None and context.severity == CRITICAL
    )
    return (_signal(event, SignalKind.ERROR, sender, value=1.0 if is_critical else None),)


def _rate(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    rate = data.playback_rate
    is_known = rate is not None and 0 <= rate <= fields.MAX_PLAYBACK_RATE
    return (_signal(event, SignalKind.REPORT, sender, rate=rate if is_known else None),)


def _quality_change(event: Event, data: Data, sender: Sender) -> tuple[Signal, ...]:
    switch = Switch(
        data.media_type == "audio",
        fields.previous_bps(event),
        None if data.trigger is None else fields.trigger(event),
    )
    return (
        _signal(
            event,
            SignalKind.REPORT,
            sender,
            rendition=_rendition(event, data) or _SAME_RENDITION,
            switch=switch,
        ),
    )


_SAME_RENDITION: Final = Rendition()


def _rendition(event: Event, data: Data) -> Rendition | None:
    bps = fields.rendition_bps(event)
    resolution, fps = data.resolution, fields.framerate(data)
    if bps is None and resolution is None and fps is None:
        return None
    width = height = None
    if resolution is not None:
        width, height = resolution.width or 0, resolution.height or 0
    upscale, downscale = fields.scaling(data)
    return Rendition(bps, width, height, fps, upscale, downscale)


RULES: Final[dict[str, Rule]] = {
    "viewstart": _simple(SignalKind.LOADED),
    "manifestload": _simple(SignalKind.LOADED),
    "playerready": _player_ready,
    "canplay": _can_play,
    "playing": _play,
    "pause": _pause,
    "seek": _seek,
    "stall_start": _simple(SignalKind.STALL_BEGIN),
    "stallstart": _simple(SignalKind.STALL_BEGIN),
    "waitstart": _simple(SignalKind.STALL_BEGIN),
    "stall_end": _stall_end,
    "stallend": _stall_end,
    "qualitychange": _quality_change,
    "quality_change": _quality_change,
    "heartbeat": _heartbeat,
    "quartile": _quartile,
    "ended": _ended,
    "error": _error,
    "playbackratechange": _rate,
    "moveaway": _simple(SignalKind.HIDDEN),
    "moveback": _simple(SignalKind.VISIBLE),
    "playbackdetached": _simple(SignalKind.LEFT),
}
"""What events of both generations mean, unless the player has a rule of its own."""

RULES_BY_PLAYER: Final[dict[str, dict[str, Rule]]] = {
    "dashjs": {
        **RULES,
        "manifestload": _simple(SignalKind.READY),
        "playing": _dash_playing,
        "stallstart": _simple(SignalKind.PLAY_WAIT),
        "stallend": _dash_stall_end,
    },
}
"""Where players differ from ``RULES``."""
