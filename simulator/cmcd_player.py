"""Players without an SDK: the CMCD records that hls.js, dash.js and Shaka send by themselves.

It follows recorded traffic (``tests/captures``, CMCD version 2, event mode):

- hls.js sends its state, bit rate and buffer in each record, ``d`` at the load, ``s`` at the
  request to play, and ``r`` in every seek. Its errors are those that end playback.
- dash.js sends ``s`` at the load and nothing at the request to play, but ``w`` for waits in
  start-up and seeks, and its media start delay with the first picture. Bit rates and buffers are
  typed, and missing in periodic records. The code of an error stays on every later record.
- Shaka's release build sends no state. What its viewers see is unknown to a worker.

None says that the page is closed, and none reports a position. Records of one moment share a body.
"""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid5

from .experience import State
from .sdk_adapter import Adapter, Event
from .simulated_playback import Signal
from .truth import Fact
from .world import Device, Rendition

_PC: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
_MAC: Final = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_LINUX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0)"
_ANDROID: Final = "Mozilla/5.0 (Linux; Android 15)"

USER_AGENTS: Final = {
    ("desktop", "Windows", "Chrome"): f"{_PC} Chrome/141.0 Safari/537.36",
    ("desktop", "macOS", "Safari"): f"{_MAC} Version/18.0 Safari/605.1.15",
    ("desktop", "Linux", "Firefox"): f"{_LINUX} Gecko/20100101 Firefox/143.0",
    ("mobile", "Android", "Chrome"): f"{_ANDROID} Chrome/141.0 Mobile Safari/537.36",
    ("tablet", "Android", "Chrome"): f"{_ANDROID} Chrome/138.0 Safari/537.36",
}
"""By category, system and browser. Records name none of these: a worker reads the user agent."""

AUDIO_KBPS: Final = 64

DASH_SEGMENT_ERROR: Final = "27"
"""dash.js's code of a segment that could not be loaded."""

HLS_CODES: Final = {
    "segment": "fragLoadError",
    "manifest": "manifestLoadTimeOut",
    "rights": "manifestLoadError",
    "decoder": "bufferAppendError",
}
"""hls.js's codes by kind of failure."""

FAMILY: Final = ("error_family", "cmcd")


def user_agent(device: Device) -> str:
    """The user agent of a device's browser."""
    return USER_AGENTS[device.category, device.os, device.browser]


@dataclass(slots=True)
class CmcdPlayer(Adapter):
    """A player that reports by CMCD.

    Attributes:
        number: Sequence number of the next record.
        state: State that the records report; "" before the first.
        asked_at: When play was requested first, ms.
        delay: ms from that request to the first picture, as reported.
        code: Code of the latest error.
    """

    number: int = field(default=0, init=False)
    state: str = field(default="", init=False)
    asked_at: int | None = field(default=None, init=False)
    delay: int | None = field(default=None, init=False)
    code: str = field(default="", init=False)

    def __post_init__(self) -> None:
        Adapter.__post_init__(self)
        experience = self.experience
        experience.duration = None  # no record has it
        experience.waits = True  # without a report of waits a picture cannot be inferred
        experience.counts_media = True

    @property
    def player(self) -> str:
        return self.playback.site.player

    @property
    def session(self) -> str:
        """hls.js keeps its session from one source to the next."""
        page = str(self.context["view_id"])
        if self.player == "hlsjs":
            return page
        return str(uuid5(UUID(page), self.playback.video.id))

    def events_of(self, signal: Signal, at: float) -> list[Event]:
        if signal is not Signal.FRAGMENT:
            return Adapter.events_of(self, signal, at)
        # The time of its record is that of the request, which lies in the past.
        requested_at = int(at) - self._fetch_ms
        if requested_at > self.experience.at:
            return Adapter.events_of(self, signal, requested_at)
        self.events = []
        self.emit_for(signal, requested_at)
        return self.events

    def emit_for(self, signal: Signal, at: int) -> None:
        player, playback = self.player, self.playback
        if player == "shaka":
            self._emit_for_shaka(signal, at)
            return
        match signal:
            case Signal.LOAD:
                self._record("t", at)
                self._change_state("d" if player == "hlsjs" else "s", at)
            case Signal.PLAY if self.asked_at is None:
                self.asked_at = at
                if player == "hlsjs":
                    self._change_state("s", at)
            case Signal.STALL if self.state != "f":
                self._stall(at)
            case Signal.PLAYING:
                self._change_state("p", at)
            case Signal.PAUSE if playback.position < playback.end:
                self._change_state("a", at, Fact("openqoe_pause_events_total"))
            case Signal.ENDED:
                self._change_state("e", at, Fact("openqoe_views_completed_total"))
            case Signal.RENDITION | Signal.SWITCH if player == "hlsjs":
                self._bitrate_change(signal, at)
            case Signal.BEAT:
                self._beat(at)
            case Signal.ERROR:
                self._error(at)
            case Signal.FRAGMENT:
                self._request(at)

    def _emit_for_shaka(self, signal: Signal, at: int) -> None:
        match signal:
            case Signal.LOAD | Signal.BEAT:
                self._record("t", at)
            case Signal.RENDITION | Signal.SWITCH:
                self._bitrate_change(signal, at)
            case Signal.ERROR:
                self._record("e", at, *self._error_facts("unknown"))
            case Signal.HIDDEN | Signal.CLOSED:
                self._record("b", at, keys={"bg": True})
            case Signal.SHOWN:
                self._record("b", at)

    # What the viewer sees

    def _changed(self, signal: Signal) -> list[Fact]:
        experience = self.experience
        if self.player == "shaka":
            # The first record comes before the first state, and counts for nothing.
            return [Fact("openqoe_views_loaded_total")] if self.number == 2 else []
        match signal:
            case Signal.LOAD:
                return [Fact("openqoe_views_loaded_total")]
            case Signal.PLAY:
                return experience.request()
            case Signal.STALL:
                asked = experience.request() if self.playback.cause == "startup" else []
                return [*asked, *experience.stall(self.playback.cause)]
            case Signal.PLAYING:
                experience.reported_start_ms = self.delay
                seek = self._end_seek()
                return [*experience.request(), *experience.end_stall(), *experience.move(), *seek]
            case Signal.BEAT if self.state == "p":
                experience.make_progress()
            case Signal.PAUSE:
                experience.pause()
            case Signal.ENDED:
                return [*experience.end(), *self._completed()]
            case Signal.ERROR:
                is_fatal = self.playback.failure.is_fatal
                return experience.fail(is_fatal=is_fatal, is_over=is_fatal)
        return []

    def _end_seek(self) -> list[Fact]:
        if self.experience.state is not State.SEEKING:
            return []
        return [Fact("openqoe_seek_latency_seconds", (), self.playback.latency / 1000)]

    def _completed(self) -> list[Fact]:
        return [] if self.playback.video.is_live else [Fact("openqoe_completion_rate", (), 1.0)]

    # Records

    def _stall(self, at: int) -> None:
        cause = self.playback.cause
        if cause == "startup":
            if self.player == "dashjs":
                self._change_state("w", at)
            return
        if cause == "seek":
            self._change_state("k", at, Fact("openqoe_seeks_total"))
        if cause == "rebuffer" or self.player == "hlsjs":
            self._change_state("r", at, *self.buffer(self._ahead))
        else:
            self._change_state("w", at)

    def _beat(self, at: int) -> None:
        facts: list[Fact] = []
        if self.player == "hlsjs" and self.reported.bps is not None:  # else without media keys
            facts += self.buffer(self._ahead)
            facts += self._throughput()
            if self.state == "p":
                facts += self.bitrate(self.reported.bps)
        self._record("t", at, *facts)

    def _bitrate_change(self, signal: Signal, at: int) -> None:
        """The bit rate that is requested from now on."""
        playback = self.playback
        if signal is Signal.RENDITION and self.reported.bps is not None:
            return  # what was requested is shown
        rendition = playback.chosen if signal is Signal.SWITCH else playback.rendition
        self._record("bc", at, *self._report(rendition))

    def _error(self, at: int) -> None:
        failure = self.playback.failure
        if self.player == "dashjs" and failure.kind == "segment" and not failure.is_fatal:
            self.code = DASH_SEGMENT_ERROR
            self._record("e", at, *self._error_facts(self.code))
        elif failure.is_fatal:
            self._change_state("f", at)
            if self.player == "hlsjs":
                code = HLS_CODES[failure.kind]
                self._record("e", at, *self._error_facts(code), keys={"ec": f'("{code}")'})

    def _error_facts(self, code: str) -> list[Fact]:
        return [Fact("openqoe_errors_total", (("error_code", code), FAMILY))]

    def _request(self, at: int) -> None:
        """A segment was requested, and has come. dash.js sends the time of day as the time to its
        first byte."""
        last = self._fetch_ms
        first = min(round(self.playback.fetched[1]), last)
        is_dash = self.player == "dashjs"
        own = (("code_class", "2xx"), ("object_type", "v" if is_dash else "unknown"))
        facts = [Fact("openqoe_media_requests_total", own)]
        if not is_dash:
            facts.append(Fact("openqoe_media_request_ttfb_seconds", (), first / 1000))
        facts.append(Fact("openqoe_media_request_duration_seconds", (), last / 1000))
        url = f"https://media.{self.playback.site.org}.example/{self.playback.video.id}/1.m4s"
        keys: dict[str, object] = {"rc": 200, "ttfb": at if is_dash else first, "ttlb": last}
        keys |= {"url": f'"{url}"'} | ({"ot": "v"} if is_dash else {})
        self._record("rr", at, *facts, keys=keys)

    def _change_state(self, state: str, at: int, *facts: Fact) -> None:
        self.state = state
        more: list[Fact] = []
        keys: dict[str, object] = {}
        if self.player == "dashjs" and self.playback.rendition is not None and state != "s":
            more += self._report(self.playback.rendition)
            if state == "p" and self.delay is None and self.asked_at is not None:
                self.delay = keys["msd"] = max(1, at - self.asked_at)
        self._record("ps", at, *facts, *more, keys=keys)

    def _report(self, rendition: Rendition | None) -> list[Fact]:
        """A record reports a bit rate: the first, another one, or what is known."""
        assert rendition is not None, "it was chosen"
        before, bps = self.reported.bps, round(rendition.bps / 1000) * 1000
        self.reported.bps = bps
        if before == bps:
            return []
        if before is None:
            return self.bitrate(bps)
        direction = "upshift" if bps > before else "downshift"
        own = (("change_direction", direction), ("trigger", "unknown"))
        return [*self.bitrate(bps), Fact("openqoe_quality_changes_total", own)]

    def _record(self, e: str, at: int, *facts: Fact, keys: dict[str, object] | None = None) -> None:
        """Emit a record, with the keys that the player puts into each."""
        video, player = self.playback.video, self.player
        members: dict[str, object] = {"cid": f'"{video.id}"', "e": e, "sid": f'"{self.session}"'}
        members |= {"sn": self.number, "ts": at, "v": 2}
        is_typed = self.reported.bps is not None or self.playback.rendition is not None
        if is_typed:  # the manifest is known
            members["sf"] = "h" if player == "hlsjs" else "d"
            members["st"] = "l" if video.is_live else "v"
        if self.state:
            members["sta"] = self.state
        members |= self._media_keys(e)
        if self.code:
            members["ec"] = self.code
        members |= keys or {}
        self.number += 1
        text = ",".join(k if v is True else f"{k}={v}" for k, v in sorted(members.items()))
        event_type = f"cmcd_{e}"
        counted = Fact("openqoe_events_total", (("event_type", event_type),))
        content = {
            "event_type": event_type,
            "record": text,
            "state": self.state,
            "is_typed": is_typed,
        }
        view = f"{self.session}/{video.id}"
        self.events.append(Event(at, content, view, (counted, *facts), self.closing()))

    def closing(self) -> tuple[Fact, ...]:
        if self.player != "shaka":
            return Adapter.closing(self)
        unknown = Fact("openqoe_view_outcomes_total", (("outcome", "unknown"),))
        return (unknown,) if self.number >= 2 else ()

    def _media_keys(self, e: str) -> dict[str, object]:
        bps = self.reported.bps
        if bps is None:
            return {}
        kbps = round(bps / 1000)
        if self.player == "shaka":
            return {"br": f"({kbps})"}
        if self.player == "hlsjs":
            keys: dict[str, object] = {"br": f"({kbps})", "mtp": f"({self._mtp})"}
            return keys | ({} if e == "rr" else {"bl": f"({self._ahead:.0f})"})
        if e != "ps":
            return {}
        ahead = f"{self._ahead:.0f}"
        return {
            "br": f"({kbps};v {AUDIO_KBPS};a)",
            "pb": f"({kbps};v {AUDIO_KBPS};a)",
            "bl": f"({ahead};v {ahead};a)",
            "mtp": f"({self._mtp};v)",
        }

    @property
    def _ahead(self) -> float:
        """Length of the buffer, ms, to tenths of a second."""
        return round(self.playback.ahead, -2)

    @property
    def _mtp(self) -> int:
        """Throughput, kbit/s, to hundreds."""
        return max(100, round(self.playback.estimate / 100_000) * 100)

    def _throughput(self) -> list[Fact]:
        return [Fact("openqoe_throughput_bps", (), self._mtp * 1000.0)]

    @property
    def _fetch_ms(self) -> int:
        """ms from the request of the latest segment to its last byte."""
        return max(1, round(self.playback.fetched[2]))
