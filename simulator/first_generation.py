"""The first generation of the SDK: the same events from all players, some with wrong numbers.

It follows ``events.md`` of the captures, which describes the events of real SDKs and players.
"""

from .sdk_adapter import LOWEST_LEVEL, UNRELIABLE, Adapter, Data
from .simulated_playback import Signal
from .truth import Fact

MONOTONIC_ERROR = 1_795_000_000_000.0
"""``watch_time`` of quartiles: a time of day minus a time since navigation, thus meaningless."""


class FirstGeneration(Adapter):
    """An adapter of the first generation."""

    def emit_for(self, signal: Signal, at: int) -> None:
        playback, player = self.playback, self.playback.site.player
        match signal:
            case Signal.LOAD:
                data: Data = {"preroll_requested": False}
                self.emit("viewstart", at, data, has_position=False)
            case Signal.READY if player != "dashjs":
                self._ready(at)
            case Signal.PLAY:
                data = {"video_startup_time": self.since_load(at)}
                data |= {"bitrate": self._bitrate(), "resolution": self.resolution}
                if player != "html5":
                    self.reported.fps = data["framerate"] = None if player == "dashjs" else 25
                facts = self.startup(data["video_startup_time"], "playing")
                bps = None if player in UNRELIABLE else data["bitrate"]
                facts += self.shown(bps, data["resolution"])
                self.remember_rendition(bps, data["resolution"]["height"])
                self.emit("playing", at, data, *facts)
            case Signal.PAUSE:
                played, facts = self.total()
                facts.append(Fact("openqoe_pause_events_total"))
                self.emit("pause", at, {"playing_time": played}, *facts)
            case Signal.SEEKED:
                facts = [Fact("openqoe_seeks_total")]
                latency = round(playback.latency, 1)
                if player == "html5":
                    latency = float(at - int(playback.navigation))
                else:
                    facts.append(Fact("openqoe_seek_latency_seconds", (), latency / 1000))
                where = playback.position
                data = {"from": where, "to": where, "seek_latency": latency}
                self.emit("seek", at, data, *facts)
            case Signal.STALL:
                data = self._buffer() | {"bitrate": self._bitrate()}
                self.emit("stall_start", at, data, *self.buffer(data.get("buffer_length")))
            case Signal.STALL_OVER:
                duration = round(max(0.0, at - playback.stall_began), 1)
                data = {"stall_duration": duration} | self._buffer()
                self.reported.stall_s = duration / 1000
                self.emit("stall_end", at, data, *self.buffer(data.get("buffer_length")))
            case Signal.RENDITION if player not in ("dashjs", "html5"):
                self._quality_change(at)
            case Signal.QUARTILE:
                played, facts = self.total()
                data = {"quartile": playback.reached, "playing_time": played}
                data["watch_time"] = MONOTONIC_ERROR + at % 1000
                self.emit("quartile", at, data, *facts, *self.quartile())
            case Signal.BEAT:
                self._heartbeat(at)
            case Signal.ENDED:
                played, facts = self.total()
                data = {
                    "playing_time": played,
                    "total_watch_time": self.since_load(at),
                    "completion_rate": 1,
                    "rebuffer_count": playback.stalls,
                    "rebuffer_duration": round(playback.stalled, 1),
                }
                facts += self.completed()
                facts.append(Fact("openqoe_rebuffer_count", (), float(playback.stalls)))
                self.emit("ended", at, data, *facts)
            case Signal.SWITCH if player == "videojs":
                self.old_rendition(at)
            case Signal.ERROR if player != "dashjs" and self.reports_error:
                data, facts = self.error()
                self.emit("error", at, data, *facts)

    def _ready(self, at: int) -> None:
        duration = round(at - self.playback.navigation, 1)
        data: Data = {"player_startup_time": duration}
        facts = [Fact("openqoe_player_startup_seconds", (), duration / 1000)]
        # Missing while the page is still loading, as with a player that is ready at once.
        if self.playback.site.player in ("hlsjs", "shaka"):
            data["page_load_time"] = loaded = max(1, int(duration * 0.8))
            facts.append(Fact("openqoe_page_load_seconds", (), loaded / 1000))
            self.experience.before_start = max(loaded, duration) / 1000  # both from navigation
        self.emit("playerready", at, data, *facts, has_position=False)

    def _heartbeat(self, at: int) -> None:
        player = self.playback.site.player
        played, facts = self.total()
        data: Data = {"playing_time": played, "bitrate": self._bitrate()} | self._buffer()
        facts += self.buffer(data.get("buffer_length"))
        if player != "html5":
            data["dropped_frames"], grown = self.frames()
            facts += grown
        facts += self.bitrate(None if player in UNRELIABLE else data["bitrate"])
        self.emit("heartbeat", at, data, *facts)

    def _quality_change(self, at: int) -> None:
        bps = None if self.playback.site.player in UNRELIABLE else self._bitrate()
        data: Data = {"bitrate": self._bitrate(), "resolution": self.resolution, "framerate": 25}
        facts = self.switch(bps, self.resolution)
        self.reported.fps = 25
        self.emit("qualitychange", at, data, *facts)

    def _bitrate(self) -> float | None:
        """The bit rate that the adapter reports."""
        playback = self.playback
        rendition = playback.rendition
        match playback.site.player:
            case "hlsjs" | "dashjs":
                return None if rendition is None else round(rendition.bps * 1.15)
            case "shaka":
                return playback.estimate or None
            case "videojs":
                return LOWEST_LEVEL
            case _:
                return None

    def _buffer(self) -> Data:
        """The length of the buffer, which hls.js's adapter does not report."""
        if self.playback.site.player == "hlsjs":
            return {}
        return {"buffer_length": round(self.playback.ahead, 3)}
