"""The first generation of the SDK: the same events from all players, with odd numbers in some.

The table of facts is ``events.md`` of the captures: what real SDKs with real players send.
"""

from .sdk_adapter import UNRELIABLE, Adapter, Data
from .simulated_playback import Sight
from .truth import Fact

MONOTONIC_ERROR = 1_795_000_000_000.0
"""``watch_time`` of quartiles is a time of day less a time since navigation: nonsense."""


class FirstGeneration(Adapter):
    """An adapter of the first generation."""

    def look(self, sight: Sight, at: int) -> None:
        playback, player = self.playback, self.playback.site.player
        match sight:
            case Sight.LOAD:
                data: Data = {"preroll_requested": False}
                self.emit("viewstart", at, data, *self.start(), has_position=False)
            case Sight.READY if player != "dashjs":
                self._ready(at)
            case Sight.PLAY:
                data = {"video_startup_time": self.since_load(at)}
                data |= {"bitrate": self._bitrate(), "resolution": self.resolution}
                if player != "html5":
                    data["framerate"] = None if player == "dashjs" else 25
                facts = [*self.start(), *self.startup(data["video_startup_time"], "playing")]
                bps = None if player in UNRELIABLE else data["bitrate"]
                facts += self.shown(bps, data["resolution"])
                self.note(bps, data["resolution"]["height"])
                self.emit("playing", at, data, *facts)
            case Sight.PAUSE:
                played, facts = self.total()
                facts.append(Fact("openqoe_pause_events_total"))
                self.emit("pause", at, {"playing_time": played}, *facts)
            case Sight.SEEKED:
                facts = [Fact("openqoe_seeks_total")]
                latency = round(playback.latency, 1)
                if player == "html5":
                    latency = float(at - int(playback.navigation))
                else:
                    facts.append(Fact("openqoe_seek_latency_seconds", (), latency / 1000))
                where = playback.position
                data = {"from": where, "to": where, "seek_latency": latency}
                self.emit("seek", at, data, *facts)
            case Sight.STALL:
                data = self._buffer() | {"bitrate": self._bitrate()}
                facts = [*self.stall(at), *self.buffer(data.get("buffer_length"))]
                self.emit("stall_start", at, data, *facts)
            case Sight.STALL_OVER:
                took = round(max(0.0, at - playback.stall_began), 1)
                data = {"stall_duration": took} | self._buffer()
                facts = [*self.stall_over(took / 1000), *self.buffer(data.get("buffer_length"))]
                self.emit("stall_end", at, data, *facts)
            case Sight.RENDITION if player not in ("dashjs", "html5"):
                self._quality_change(at)
            case Sight.QUARTILE:
                played, facts = self.total()
                data = {"quartile": playback.reached, "playing_time": played}
                data["watch_time"] = MONOTONIC_ERROR + at % 1000
                self.emit("quartile", at, data, *facts, *self.quartile())
            case Sight.BEAT:
                self._heartbeat(at)
            case Sight.ENDED:
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
            case Sight.ERROR if player != "dashjs":
                data, facts = self.error()
                self.emit("error", at, data, *facts)

    def _ready(self, at: int) -> None:
        took = round(at - self.playback.navigation, 1)
        data: Data = {"player_startup_time": took}
        facts = [Fact("openqoe_player_startup_seconds", (), took / 1000)]
        # Absent while the page still loads, as it does where a player is ready at once.
        if self.playback.site.player in ("hlsjs", "shaka"):
            data["page_load_time"] = loaded = max(1, int(took * 0.8))
            facts.append(Fact("openqoe_page_load_seconds", (), loaded / 1000))
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
        """video.js tells twice, and the first time still the resolution before."""
        is_videojs = self.playback.site.player == "videojs"
        bps = None if self.playback.site.player in UNRELIABLE else self._bitrate()
        now = self.resolution
        old = {"width": 0, "height": self.told.height or 0}
        if is_videojs and self.told.height:
            old["width"] = int(self.told.height * 16 / 9)
        for resolution in (old, now) if is_videojs and self.told.height else (now,):
            data: Data = {"bitrate": self._bitrate(), "resolution": resolution, "framerate": 25}
            self.emit("qualitychange", at, data, *self.switch(bps, resolution))

    def _bitrate(self) -> float | None:
        """What the adapter takes for the bit rate."""
        playback = self.playback
        rendition = playback.rendition
        match playback.site.player:
            case "hlsjs" | "dashjs":
                return None if rendition is None else round(rendition.bps * 1.15)
            case "shaka":
                return playback.estimate or None
            case "videojs":
                return 365_458  # the first enabled level
            case _:
                return None

    def _buffer(self) -> Data:
        """hls.js's adapter does not look at the buffer."""
        if self.playback.site.player == "hlsjs":
            return {}
        return {"buffer_length": round(self.playback.ahead, 3)}
