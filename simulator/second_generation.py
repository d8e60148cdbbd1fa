"""The second generation of the SDK: more events, which differ by the player's adapter.

It follows ``events.md`` of the captures, which describes the events of real SDKs and players.
"""

from .first_generation import MONOTONIC_ERROR
from .sdk_adapter import LOWEST_LEVEL, Adapter, Data
from .simulated_playback import Signal
from .truth import Fact

AUDIO_KBPS = 64
"""Bit rate of the audio, which dash.js reports as well."""

PLAYER_WIDTH, PLAYER_HEIGHT = 1280, 720
"""CSS pixels of the player on the page, at a device pixel ratio of 1."""

NO_RESOLUTION: Data = {"width": None, "height": None}


class SecondGeneration(Adapter):
    """An adapter of the second generation."""

    def emit_for(self, signal: Signal, at: int) -> None:
        playback, player = self.playback, self.playback.site.player
        match signal:
            case Signal.LOAD:
                self._load(at)
            case Signal.READY:
                self._ready(at)
            case Signal.CAN_PLAY if player in ("html5", "hlsjs", "dashjs"):
                self._can_play(at)
            case Signal.PLAY if player != "dashjs":
                self._play(at)
            case Signal.PLAYING if player == "dashjs":
                self._playing(at)
            case Signal.PAUSE:
                played, facts = self.total()
                facts.append(Fact("openqoe_pause_events_total"))
                self.emit("pause", at, {"playing_time": played}, *facts)
            case Signal.SEEKED:
                where, latency = playback.position, round(playback.latency, 1)
                facts = [
                    Fact("openqoe_seeks_total"),
                    Fact("openqoe_seek_latency_seconds", (), latency / 1000),
                ]
                data: Data = {"from": where, "to": where, "seek_latency": latency}
                self.emit("seek", at, data, *facts)
            case Signal.STALL:
                data = self._buffer() | {"bitrate": self._bitrate()}
                self.emit("stallstart", at, data, *self._buffered(data))
            case Signal.STALL_OVER if player != "dashjs":
                self._stall_over(at)
            case Signal.RENDITION if player != "html5":
                self._quality_change(at)
            case Signal.FRAGMENT if player in ("hlsjs", "dashjs", "shaka"):
                self._fragment(at)
            case Signal.QUARTILE:
                played, facts = self.total()
                data = {"quartile": playback.reached, "playing_time": played}
                nothing = player in ("hlsjs", "dashjs")
                data["watch_time"] = 0 if nothing else MONOTONIC_ERROR + at % 1000
                self.emit("quartile", at, data, *facts, *self.quartile())
            case Signal.BEAT:
                self._heartbeat(at)
            case Signal.ENDED:
                self._ended(at)
            case Signal.SWITCH if player == "videojs":
                self.old_rendition(at)
            case Signal.ERROR if self.reports_error and (
                player != "dashjs" or playback.failure.kind == "decoder"
            ):
                data, facts = self.error()
                self.emit("error", at, data, *facts)
            case Signal.HIDDEN:
                self.emit("moveaway", at, {})
            case Signal.SHOWN:
                self.emit("moveback", at, {})
            case Signal.VOLUME if player in ("html5", "hlsjs", "dashjs"):
                data = {"volume": self.rng.randrange(0, 101, 5), "muted": False}
                self.emit("playbackvolumechange", at, data)
            case Signal.CLOSED:
                self.emit("moveaway", at, {})

    def _load(self, at: int) -> None:
        player = self.playback.site.player
        if player != "videojs":
            load = {"page_load_time": self.rng.choice((0, 0, 0.2, 1))}
            self.emit("manifestload", at, load, has_position=False)
        if player in ("shaka", "videojs"):
            data: Data = {"preroll_requested": False}
            self.emit("viewstart", at, data, has_position=False)

    def _ready(self, at: int) -> None:
        if self.playback.site.player == "videojs":
            self.emit("playerready", at, {"page_load_time": 0}, has_position=False)
            return
        duration = round(at - self.playback.navigation, 1)
        self.reported.ready = duration
        fact = Fact("openqoe_player_startup_seconds", (), duration / 1000)
        self.emit("playerready", at, {"player_startup_time": duration}, fact, has_position=False)

    def _can_play(self, at: int) -> None:
        """``video_startup_time`` is the time since navigation, which grows with each event."""
        since = round(at - self.playback.navigation, 1)
        data: Data = {"video_startup_time": since}
        facts = []
        if self.playback.site.player == "html5":
            data["buf_len"] = round(self.playback.ahead, 3)
            facts += self.buffer(data["buf_len"])
        if self.reported.ready is not None and since >= self.reported.ready:
            facts += self.startup(since - self.reported.ready, "canplay")
        self.emit("canplay", at, data, *facts, has_position=False)

    def _play(self, at: int) -> None:
        """html5 and hls.js report the position as the time played."""
        player = self.playback.site.player
        if player == "hlsjs":
            self.emit("playing", at, {"playing_time": self.playback.position})
            return
        facts: list[Fact] = []
        resolution = self.resolution
        if player == "html5":
            data: Data = {"playing_time": self.playback.position, "bitrate": None}
            data["resolution"] = resolution
        else:
            startup = self.since_load(at)
            data = {"video_startup_time": startup, "bitrate": self._bitrate()}
            data |= {"resolution": resolution, "framerate": 25}
            self.reported.fps = 25
            facts += self.startup(startup, "playing")
        facts += self.shown(None, resolution)
        self.remember_rendition(None, resolution["height"])
        self.emit("playing", at, data, *facts)

    def _playing(self, at: int) -> None:
        """dash.js: at each start of the picture and at the end of stalls. In seconds and kbit/s, of
        video or audio, whichever changed last."""
        reported, playback = self.reported, self.playback
        data: Data = {"playing_time": playback.position / 1000, "bitrate": self._bitrate()}
        resolution = None
        if reported.bps is not None:
            resolution = NO_RESOLUTION if reported.audio else self.resolution
        data["resolution"] = resolution
        data["framerate"] = None if resolution is None or reported.audio else reported.fps
        self.emit("playing", at, data, *self.shown(reported.bps, resolution))

    def _stall_over(self, at: int) -> None:
        """hls.js's adapter reports no duration."""
        reported, playback = self.reported, self.playback
        duration = round(max(0.0, at - playback.stall_began), 1)
        player = playback.site.player
        data: Data = {}
        if player in ("html5", "hlsjs"):
            data["stall_position_secs"] = playback.position / 1000
        if player != "hlsjs":
            data["stall_duration"] = duration
        data |= self._buffer()
        reported.stall_s = None if player == "hlsjs" else duration / 1000
        self.emit("stallend", at, data, *self._buffered(data))

    def _quality_change(self, at: int) -> None:
        rendition = self.playback.rendition
        assert rendition is not None
        player, resolution = self.playback.site.player, self.resolution
        self.reported.fps = rendition.fps if player in ("hlsjs", "dashjs") else 25
        if player in ("shaka", "videojs"):
            data: Data = {"bitrate": self._bitrate(), "resolution": resolution, "framerate": 25}
            self.emit("qualitychange", at, data, *self.switch(None, resolution))
            return
        kbps = rendition.bps / 1000
        is_hls = player == "hlsjs"
        fps: str | int = f"{rendition.fps:.3f}" if is_hls else rendition.fps
        codec = "avc1,mp4a" if is_hls else "avc"
        new: Data = {"bitrate_kb": kbps, "resolution": resolution, "codec": codec}
        new["framerate"] = fps
        bandwidth: Data = {"bandwidth": rendition.bps, "codec": codec}
        if is_hls:
            self.emit("qualitychangerequested", at, {"new": new | {"level": 0}})
        else:
            bandwidth["media_type"] = "video"
        self.emit("bandwidthchange", at, bandwidth)
        is_first = self.reported.bps is None
        width, height = resolution["width"], resolution["height"]
        data = {
            "bitrate_kb": kbps,
            "media_type": "" if is_hls else "video",
            "resolution": resolution,
            "bits_per_pixel": None if is_hls else round(rendition.bps / width / height / 25, 4),
            "video_width": width,
            "video_height": height,
            "player_width": PLAYER_WIDTH,
            "player_height": PLAYER_HEIGHT,
            "device_pixel_ratio": 1,
            "framerate": fps,
        }
        if not is_hls:
            data["codec"] = codec
        self.reported.audio = False
        ratio = max(PLAYER_WIDTH / width, PLAYER_HEIGHT / height)
        self.reported.scale = max(0.0, ratio - 1), max(0.0, 1 - ratio)
        self.emit("qualitychange", at, data, *self.switch(kbps * 1000, resolution))
        if is_first and player == "dashjs":
            self.reported.audio = True
            sound = data | {"bitrate_kb": AUDIO_KBPS, "media_type": "audio", "codec": "aac"}
            sound |= {"resolution": NO_RESOLUTION, "bits_per_pixel": None, "framerate": None}
            self.emit("qualitychange", at, sound)

    def _fragment(self, at: int) -> None:
        """Fragments are sampled: one in ten."""
        size, first_byte, duration = self.playback.fetched
        data: Data = {"frag_duration": 4.0, "z_score": round(self.rng.uniform(0, 2), 2)}
        playback = self.playback
        base = f"https://media.{playback.site.org}.example/{playback.video.id}/"
        height = self.resolution["height"]
        match self.playback.site.player:
            case "hlsjs":
                data |= {"size_bytes": size, "time_to_load": duration, "ttfb_ms": first_byte}
                data |= {"bandwidth": self.playback.estimate, "url": None, "type": ""}
                data |= {"service_location": f"{base}{height}p.m3u8"}
                data |= {"frag_id": f"seg-{int(self.playback.position // 4000)}.m4s"}
                data |= {"media_type": "main"}
            case "dashjs":
                since = at - self.playback.load_at  # counted from the load of the manifest
                data |= {"size_bytes": size, "time_to_load": since, "ttfb_ms": since}
                data |= {"service_location": base, "url": f"{base}{height}p.m4s"}
                data |= {"frag_id": "2", "media_type": "video", "type": "MediaSegment"}
            case _:
                data |= {"media_type": "video", "type": "segmentappended"}
        self.emit("fragmentloaded", at, data | {"is_outlier": False})

    def _heartbeat(self, at: int) -> None:
        player = self.playback.site.player
        played, facts = self.total()
        data: Data = {"playing_time": played, "bitrate": self._bitrate()} | self._buffer()
        facts += self._buffered(data)
        if player != "html5":
            dropped, grown = self.frames()
            facts += grown
            since = round(at - self.playback.navigation, 1)
            is_dash = player == "dashjs"
            data["dropped_frames"] = (
                {"time": since, "droppedFrames": dropped} if is_dash else dropped
            )
        if player == "dashjs":
            facts += self.bitrate(self.reported.bps)
        self.emit("heartbeat", at, data, *facts)

    def _ended(self, at: int) -> None:
        """The adapters of hls.js and dash.js report no counts."""
        playback = self.playback
        counts = playback.site.player not in ("hlsjs", "dashjs")
        played, facts = self.total()
        data: Data = {
            "playing_time": played,
            "total_watch_time": self.since_load(at) if counts else 0,
            "completion_rate": 1,
            "rebuffer_count": playback.stalls if counts else 0,
            "rebuffer_duration": round(playback.stalled, 1) if counts else 0,
        }
        facts += self.completed()
        if counts:
            facts.append(Fact("openqoe_rebuffer_count", (), float(playback.stalls)))
        self.emit("ended", at, data, *facts)

    def _bitrate(self) -> float | None:
        """The bit rate that the adapter reports; dash.js's in kbit/s."""
        playback = self.playback
        match playback.site.player:
            case "dashjs":
                if self.reported.bps is None:
                    return None
                return AUDIO_KBPS if self.reported.audio else self.reported.bps / 1000
            case "shaka":
                return playback.estimate or None
            case "videojs":
                return LOWEST_LEVEL
            case _:
                return None

    def _buffer(self) -> Data:
        ahead = round(self.playback.ahead, 3)
        match self.playback.site.player:
            case "html5" | "dashjs":
                return {"buffer_len_ms": ahead}
            case "hlsjs":
                return {}
            case _:
                return {"buffer_length": ahead}

    def _buffered(self, data: Data) -> list[Fact]:
        return self.buffer(data.get("buffer_len_ms", data.get("buffer_length")))
