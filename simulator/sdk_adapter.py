"""The base of both SDK generations: the context of events, and the facts that both share.

An adapter turns signals of a playback into events, each with the facts that a worker must count.
These depend on earlier reports (a switch is a change of the reported rendition), so the
adapter keeps the reported state.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final
from uuid import UUID

from .experience import Experience
from .simulated_playback import Playback, Signal
from .truth import Fact, Labels, Period
from .world import Device, Rendition, Site, Video

Data = dict[str, Any]

ENV: Final = "simulated"
"""The ``env`` of all events, which distinguishes simulated from real ones."""

UNRELIABLE: Final = frozenset({"shaka", "videojs"})
"""Players whose adapters send another value than the rendition's bit rate as ``bitrate``."""

ALWAYS_FATAL: Final = frozenset({"html5", "videojs", "dashjs"})
"""Players whose adapters report only errors that end playback."""

LOWEST_LEVEL: Final = 365_458
"""Bit rate of the first enabled level, which video.js's adapters report always."""

RESOLUTIONS: Final = (
    (2160, "4k"),
    (1440, "1440p"),
    (1080, "1080p"),
    (720, "720p"),
    (480, "480p"),
    (360, "360p"),
    (240, "240p"),
)


def resolution_label(height: float | None) -> str:
    """The resolution label of a height."""
    return next((name for least, name in RESOLUTIONS if height and height >= least), "unknown")


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a batch.

    Attributes:
        at: Its ``event_time``, ms since the epoch.
        content: Its JSON object.
        view: Id of its view.
        facts: Those that a worker must count.
        closing: Those that are added if no further event of the view is sent.
        period: What the viewer saw since the event before.
    """

    at: int
    content: Data
    view: str
    facts: tuple[Fact, ...]
    closing: tuple[Fact, ...] = ()
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """The sender of events: the SDK's context, created once per page.

    Attributes:
        site, device: The site and the viewer's device.
        version: Release of the app.
        country: Reported by the CDN in front of the worker; no SDK reports it.
        view_id, session_id, viewer_id: The SDK's ids.
    """

    site: Site
    device: Device
    version: str
    country: str
    view_id: str
    session_id: str
    viewer_id: str

    def context(self, video: Video) -> Data:
        """The members that are equal in all events of a playback."""
        site, device = self.site, self.device
        player: Data = {"name": site.player}
        if site.player_version is not None:
            player["version"] = site.player_version
        is_videojs = site.player == "videojs"
        player["autoplay"] = "muted" if site.autoplay and is_videojs else site.autoplay
        player["preload"] = "auto" if site.player in ("videojs", "dashjs") else "metadata"
        ending = {"hlsjs": "m3u8", "videojs": "m3u8", "html5": "mp4"}.get(site.player, "mpd")
        about: Data = {"id": video.id, "title": video.title}
        if video.series is not None:
            about["series"] = video.series
        # A number of the page: in ms in the first generation, in s in the second.
        about["duration"] = video.seconds * (1000 if site.generation == 1 else 1) or None
        about["source_url"] = f"https://media.{site.org}.example/{video.id}/main.{ending}"
        # Not a field of the SDK: the page adds it, to distinguish live from VOD.
        about["stream_type"] = "live" if video.is_live else "vod"
        return {
            "org_id": site.org,
            "player_id": site.player_id,
            "view_id": self.view_id,
            "session_id": self.session_id,
            "viewer_id": self.viewer_id,
            "env": ENV,
            "app_name": site.app,
            "app_version": self.version,
            "device": {"category": device.category},
            "os": {"family": device.os},
            "browser": {"family": device.browser, "version": device.version},
            "player": player,
            "network": {},
            "video": about,
        }

    def labels(self, video: Video) -> Labels:
        """The base labels of the metrics."""
        site, device = self.site, self.device
        return tuple(
            sorted(
                {
                    "org_id": site.org,
                    "player_id": site.player_id,
                    "env": ENV,
                    "app_name": site.app,
                    "app_version": self.version,
                    "device_category": device.category,
                    "os_family": device.os,
                    "browser_family": device.browser,
                    "player_name": site.player,
                    "network_country": self.country,
                    "video_id": video.id,
                    "content_type": "live" if video.is_live else "vod",
                }.items()
            )
        )


def uuid(rng: Random) -> str:
    """A version 4 UUID."""
    return str(UUID(int=rng.getrandbits(128), version=4))


@dataclass(slots=True)
class ReportedState:
    """The state that the events of a view have reported so far.

    Attributes:
        startup: Whether a duration of the start was reported.
        bps, height, fps, scale: Those of the rendition.
        audio: Whether the latest bit rate was that of the audio.
        played: Media time in ms.
        dropped: Dropped frames.
        stall_s: Duration of the latest stall; None if the adapter reports none.
        ready: ms from navigation until the player was ready.
    """

    startup: bool = False
    bps: float | None = None
    height: float | None = None
    fps: float | None = None
    scale: tuple[float, float] | None = None
    audio: bool = False
    played: float = 0.0
    dropped: float = 0.0
    stall_s: float | None = None
    ready: float | None = None


@dataclass(slots=True)
class Adapter(ABC):
    """One SDK on one playback: the base of both generations.

    Attributes:
        playback: The playback that it observes.
        context: The constant members of its events.
        rng: Source of values for which recorded traffic shows no rule.
        reported: The state that its events have reported.
        experience: What the viewer experiences.
        events: Those of the current signal.
    """

    playback: Playback
    context: Mapping[str, Any]
    rng: Random
    reported: ReportedState = field(default_factory=ReportedState)
    experience: Experience = field(init=False)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        seconds = self.playback.video.seconds
        self.experience = Experience(seconds * 1000.0 or None)

    def events_of(self, signal: Signal, at: float) -> list[Event]:
        """The events that the SDK sends at a signal."""
        self.events = []
        self.emit_for(signal, int(at))
        if self.events:
            first, *others = self.events
            facts = (*first.facts, *self._experienced(signal, int(at)))
            closing = self.closing()
            self.events = [
                replace(first, facts=facts, closing=closing, period=self.experience.period),
                *(replace(other, closing=closing) for other in others),
            ]
        return self.events

    def closing(self) -> tuple[Fact, ...]:
        """What is added if no further event is sent."""
        return tuple(self.experience.closing())

    def _experienced(self, signal: Signal, at: int) -> list[Fact]:
        """What the viewer has experienced up to a signal, and with it."""
        experience, playback = self.experience, self.playback
        has_position = any("playback_time" in event.content for event in self.events)
        is_seek = signal is Signal.STALL and playback.cause == "seek"
        position = playback.position if has_position else None
        facts = experience.pass_time(at, position, has_jumped=is_seek)
        if any("playing_time" in (event.content.get("data") or ()) for event in self.events):
            if signal not in (Signal.PLAY, Signal.PLAYING):  # a position by that name
                experience.tell_played()
        facts += self._changed(signal)
        reported, shown = self.reported, experience.shown
        shown.bps, shown.fps = reported.bps, reported.fps
        if reported.height:
            shown.resolution = resolution_label(reported.height)
        if reported.scale is not None:
            shown.upscale, shown.downscale = reported.scale
        return facts

    def _changed(self, signal: Signal) -> list[Fact]:
        """How a signal changes what the viewer sees."""
        experience, playback = self.experience, self.playback
        match signal:
            case Signal.LOAD:
                return [Fact("openqoe_views_loaded_total")]
            case Signal.PLAY:
                return experience.request()
            case Signal.STALL:
                # dash.js of the second generation reports no request, but its first wait.
                return [*experience.request(), *experience.stall(playback.cause)]
            case Signal.STALL_OVER:
                return [*experience.end_stall(self.reported.stall_s), *experience.move()]
            case Signal.PLAYING:
                return [*experience.request(), *experience.end_stall(), *experience.move()]
            case Signal.PAUSE:
                experience.pause()
            case Signal.ENDED:
                return experience.end()
            case Signal.ERROR:
                return self._failed()
        return []

    def _failed(self) -> list[Fact]:
        """Which errors are fatal is not on the wire of hls.js: it is by its name, or if it is the
        last that happens."""
        experience, playback = self.experience, self.playback
        failure, is_over = playback.failure, playback.site.player in ALWAYS_FATAL
        is_hls = playback.site.player == "hlsjs"
        is_fatal = failure.kind in ("manifest", "rights") if is_hls else failure.is_fatal
        facts = experience.fail(is_fatal=is_fatal, is_over=is_over)
        if failure.is_fatal:
            experience.stand_still()
        return facts

    @property
    def reports_error(self) -> bool:
        """Whether the player's adapter reports the current error."""
        return self.playback.failure.is_fatal or self.playback.site.player not in ALWAYS_FATAL

    @abstractmethod
    def emit_for(self, signal: Signal, at: int) -> None:
        """Emit the events of a signal."""

    # Events

    def emit(
        self,
        event_type: str,
        at: int,
        data: Data | None,
        *facts: Fact,
        has_position: bool = True,
    ) -> None:
        """Emit an event."""
        content: Data = {"event_type": event_type, "event_time": at, "viewer_time": at}
        if has_position:
            content["playback_time"] = self.playback.position
        content.update(self.context)
        if data is not None:
            content["data"] = data
        counted = Fact("openqoe_events_total", (("event_type", event_type),))
        view = f"{content['view_id']}/{content['video']['id']}"
        self.events.append(Event(at, content, view, (counted, *facts)))

    # Facts of both generations

    def startup(self, ms: float, source: str) -> list[Fact]:
        """The start-up time that the SDK reports, once."""
        if self.reported.startup:
            return []
        self.reported.startup = True
        return [Fact("openqoe_reported_startup_seconds", (("field", source),), ms / 1000)]

    def total(self) -> tuple[float, list[Fact]]:
        """The total of the media time played, and the fact of its increase."""
        played = round(self.playback.played, 3)
        grown = max(0.0, played / 1000 - self.reported.played / 1000)
        self.reported.played = max(played, self.reported.played)
        return played, [Fact("openqoe_playing_time_seconds", (), grown)] if grown else []

    def frames(self) -> tuple[int, list[Fact]]:
        """The total of dropped frames, and the fact of its increase."""
        dropped = self.playback.dropped
        grown = dropped - self.reported.dropped
        self.reported.dropped = dropped
        if not grown:
            return dropped, []
        facts = [Fact("openqoe_dropped_frames_total", (), grown)]
        if self.reported.fps is not None:
            facts.append(Fact("openqoe_expected_frames_dropped_total", (), grown))
        return dropped, facts

    def buffer(self, ms: float | None) -> list[Fact]:
        """The length of the buffer, if the event has one."""
        return [] if ms is None else [Fact("openqoe_buffer_length_seconds", (), ms / 1000)]

    def bitrate(self, bps: float | None) -> list[Fact]:
        """The bit rate of the rendition, if the event has one."""
        names = ("openqoe_bitrate_bps", "openqoe_playing_bitrate_bps")
        return [Fact(name, (), bps) for name in names] if bps else []

    def shown(self, bps: float | None, resolution: Data | None) -> list[Fact]:
        """A report of a rendition."""
        facts = self.bitrate(bps)
        if resolution is not None:
            label = resolution_label(resolution["height"])
            facts.append(Fact("openqoe_resolution_total", (("resolution", label),)))
        return facts

    def remember_rendition(self, bps: float | None, height: float | None) -> None:
        """Keep the reported rendition."""
        self.reported.bps = bps or self.reported.bps
        self.reported.height = height or self.reported.height

    def switch(self, bps: float | None, resolution: Data) -> list[Fact]:
        """A report of the rendition: a switch if it differs from the one before, nothing if it
        does not; the first is the initial choice."""
        reported = self.reported
        height = resolution["height"]
        before = reported.bps, reported.height
        direction = _direction(reported.bps, bps) or _direction(reported.height, height)
        self.remember_rendition(bps, height)
        if direction is not None:
            own = (("change_direction", direction), ("trigger", "unknown"))
            return [*self.shown(bps, resolution), Fact("openqoe_quality_changes_total", own)]
        return self.shown(bps, resolution) if before == (None, None) else []

    def old_rendition(self, at: int) -> None:
        """video.js reports a switch twice: when it begins, with the old resolution, and when the
        new one is on the screen."""
        height = self.reported.height
        if not height:
            return
        resolution = {"width": int(height * 16 / 9), "height": height}
        data: Data = {"bitrate": LOWEST_LEVEL, "resolution": resolution, "framerate": 25}
        self.emit("qualitychange", at, data)

    def quartile(self) -> list[Fact]:
        """A quartile."""
        own = (("quartile", str(self.playback.reached)),)
        return [Fact("openqoe_quartile_reached_total", own)]

    def completed(self) -> list[Fact]:
        """The end of the video."""
        return [
            Fact("openqoe_pause_events_total", (), -1.0),  # the preceding pause is not the viewer's
            Fact("openqoe_views_completed_total"),
        ]

    def error(self) -> tuple[Data, list[Fact]]:
        """An error as the player's adapter reports it."""
        data = _error(self.playback)
        context = data["error_context"]
        code = context.get("error_details") or data["error_code"]
        own = (("error_code", code), ("error_family", data["error_family"]))
        return data, [Fact("openqoe_errors_total", own)]

    # Members of events

    @property
    def resolution(self) -> Data:
        """The resolution on the screen."""
        return resolution_of(self.playback.rendition)

    def since_load(self, at: int) -> float:
        """ms since the load of the video began."""
        return max(0.0, at - int(self.playback.load_at))


def resolution_of(rendition: Rendition | None) -> Data:
    """A resolution as the SDKs write it."""
    if rendition is None:
        return {"width": 0, "height": 0}
    return {"width": rendition.width, "height": rendition.height}


def _direction(before: float | None, after: float | None) -> str | None:
    if not before or not after or before == after:
        return None
    return "upshift" if after > before else "downshift"


_SHAKA: Final = {
    "segment": ("network", "1002", 1),
    "manifest": ("network", "1001", 1),
    "rights": ("source", "6007", 6),
    "decoder": ("decoder", "3016", 3),
}
"""Family, code and category by kind of failure."""

_HLS: Final = {
    "segment": ("network", "networkError", "fragLoadError"),
    "manifest": ("network", "networkError", "manifestLoadTimeOut"),
    "rights": ("network", "networkError", "manifestLoadError"),
    "decoder": ("decoder", "mediaError", "bufferAppendError"),
}
"""Family, type and details by kind of failure."""

_MEDIA: Final = {
    "segment": ("network", "2"),
    "manifest": ("network", "2"),
    "rights": ("source", "4"),
    "decoder": ("decoder", "3"),
}
"""Family and code of the media element by kind of failure."""


def _error(playback: Playback) -> Data:
    failure = playback.failure
    match playback.site.player:
        case "hlsjs":
            family, kind, details = _HLS[failure.kind]
            context: Data = {"error_family": family, "error_type": kind, "error_details": details}
            code, words = "-1", f"{kind}: {details}"
        case "shaka":
            family, code, category = _SHAKA[failure.kind]
            severity = 2 if failure.is_fatal else 1
            context = {"error_family": family, "severity": severity, "category": category}
            context["data"] = [f"https://media.{playback.site.org}.example/s.m4s", 404, "", {}]
            words = f"{family.capitalize()} error ({code})"
        case _:
            family, code = _MEDIA[failure.kind]
            context, words = {"error_family": family}, f"Media {failure.kind} error"
    return {
        "error_family": family,
        "error_code": code,
        "error_message": words,
        "error_context": context,
    }
