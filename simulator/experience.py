"""What one viewer experiences, by the clock: the truth of all metrics of time and outcome.

It follows the signals of a simulated playback, whose state is known, instead of guessing the state
from events as a worker must. It counts time up to the latest event, because nothing later is known:
what a view would add if no further event came (its outcome, an open stall) is its closing.

The definitions are those of the documentation (docs/metrics.md), which follow CTA-2066 and Mux.
They are written out a second time on purpose, formulas and constants included: a truth that shared
the code of the core (``core/qoe/outcome``) could not show a fault in it.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from math import exp, sqrt
from typing import Final

from .truth import Fact, Period

BOUNCE: Final = 1.0
"""s of waiting below which an exit before the first frame is a bounce."""

ERROR_IS_LAST: Final = 10_000
"""ms before the latest event within which an error of unknown weight has ended a view."""

START_GRACE: Final = 250
"""ms after a play request within which a player reports that it has to wait."""

POSITION_NOISE: Final = 100.0
"""ms by which a position must move to say that playback went on."""

SUCCESS: Final = {
    "completed": 100.0,
    "stopped": 100.0,
    "exit_before_start": 50.0,
    "start_failure": 0.0,
    "playback_failure": 0.0,
}
"""Points for success by outcome; a bounce has none."""


class State(Enum):
    """What the viewer sees."""

    LOADED = auto()
    STARTING = auto()
    PLAYING = auto()
    REBUFFERING = auto()
    SEEKING = auto()
    STILL = auto()
    """A picture that stands still: a pause, a failure, the end."""


@dataclass(slots=True)
class Shown:
    """The rendition on the screen, as far as it was reported.

    Attributes:
        bps: Bit rate, bit/s.
        resolution: Its label.
        fps: Frames per second.
        upscale, downscale: By how much the picture is enlarged and reduced; None if unknown.
    """

    bps: float | None = None
    resolution: str | None = None
    fps: float | None = None
    upscale: float | None = None
    downscale: float = 0.0


@dataclass(slots=True)
class Experience:
    """The experience of one view so far.

    Attributes:
        duration: Duration of the video in ms; None for a live one.
        before_start: s from navigation until page and player were ready; None if not reported.
        shown: The rendition.
        state: What the viewer sees.
        waits: Whether the player reported that it waits for the first frame.
        period: The time up to the latest event; None before the first one.
        counts_media: Whether the media time played follows from the time, not from reports.
        reported_start_ms: The start-up time that the player reports; preferred to the measured one.
        at: Time of the latest event, ms.
    """

    duration: float | None
    before_start: float | None = None
    shown: Shown = field(default_factory=Shown)
    state: State = State.LOADED
    waits: bool = False
    period: Period | None = None
    counts_media: bool = False
    reported_start_ms: int | None = None
    at: int = 0
    _requested: bool = False
    _requested_at: int = 0
    _has_frame: bool = False
    _ended: bool = False
    _start_s: float = 0.0
    _started_s: float = 0.0
    _startup_s: float = 0.0
    _playing_s: float = 0.0
    _rebuffering_s: float = 0.0
    _rebuffers: int = 0
    _stall: str = ""
    _stall_s: float = 0.0
    _scale_s: float = 0.0
    _upscale_s: float = 0.0
    _max_upscale: float = 0.0
    _position: float | None = None
    _furthest: float = 0.0
    _untold: float = 0.0
    _error_at: int | None = None
    _error_is_fatal: bool = False
    _is_paused: bool = False

    # Time

    def pass_time(self, at: int, position: float | None, *, has_jumped: bool) -> list[Fact]:
        """The time up to an event, in the state that the viewer saw.

        Args:
            at: The event's time, ms.
            position: The position that it reports, ms; None if it reports none.
            has_jumped: Whether the position has moved by a seek.
        """
        since, self.at = self.at or at, at
        seconds = (at - since) / 1000
        facts: list[Fact] = []
        if self._shows_at_once and at - self._requested_at > START_GRACE:
            facts += self._show_frame(0.0)
        self.period = Period(self.state.name.lower(), since, at)
        if self.state is State.STARTING:
            self._start_s += seconds
        elif self.state is State.PLAYING:
            facts += self._play(seconds)
            if has_jumped:
                self._play_until_jump(seconds * 1000)
            else:
                self._follow_position(position)
        elif self.state is State.REBUFFERING:
            self._rebuffering_s += seconds
            facts += _seconds("openqoe_watch_time_seconds", seconds)
        if self._stall:
            self._stall_s += seconds
        if position is not None:
            self._position = position
            self._furthest = max(self._furthest, position)
        return facts

    @property
    def _shows_at_once(self) -> bool:
        """Whether the first frame came with the request: the player reports no wait."""
        return self.state is State.STARTING and not self.waits

    def _play(self, seconds: float) -> list[Fact]:
        shown = self.shown
        self._playing_s += seconds
        facts = _seconds("openqoe_watch_time_seconds", seconds)
        if self.counts_media:
            facts += _seconds("openqoe_playing_time_seconds", seconds)
        if shown.bps:
            facts += _seconds("openqoe_bitrate_bits_total", seconds * shown.bps)
            facts += _seconds("openqoe_bitrate_known_seconds_total", seconds)
        if shown.resolution is not None:
            own = ("resolution", shown.resolution)
            facts += _seconds("openqoe_rendition_playing_seconds_total", seconds, own)
        if shown.fps is not None:
            facts += _seconds("openqoe_frames_expected_total", seconds * shown.fps)
        if shown.upscale is not None:
            facts += _seconds("openqoe_scale_known_seconds_total", seconds)
            facts += _seconds("openqoe_upscale_seconds_total", seconds * shown.upscale)
            facts += _seconds("openqoe_downscale_seconds_total", seconds * shown.downscale)
            self._scale_s += seconds
            self._upscale_s += seconds * shown.upscale
            if seconds:
                self._max_upscale = max(self._max_upscale, shown.upscale)
        return facts

    def _follow_position(self, position: float | None) -> None:
        if position is None or self._position is None:
            return
        if (moved := position - self._position) > POSITION_NOISE:
            self._untold += moved
            self.make_progress()

    def _play_until_jump(self, elapsed_ms: float) -> None:
        if self._position is not None:
            self._untold += elapsed_ms
            self._furthest = max(self._furthest, self._position + elapsed_ms)

    def make_progress(self) -> None:
        """Playback goes on: no earlier error was fatal."""
        self._error_at, self._error_is_fatal = None, False

    def tell_played(self) -> None:
        """An event reports the total of the media time played."""
        self._untold = 0.0

    # Changes of the state

    def request(self) -> list[Fact]:
        """The viewer, or autoplay, asks to play: the first request, or the end of a pause."""
        if self._has_frame:
            self.state, self._is_paused = State.PLAYING, False
            return []
        if self.state is not State.LOADED:
            return []
        self.state, self._requested, self._requested_at = State.STARTING, True, self.at
        return [Fact("openqoe_views_started_total")]

    def move(self) -> list[Fact]:
        """An event says that the picture moves."""
        if self.state is State.STARTING:
            return self._show_frame(min((self.at - self._requested_at) / 1000, self._start_s))
        self.state, self._is_paused = State.PLAYING, False
        return []

    def _show_frame(self, waited: float) -> list[Fact]:
        self.state, self._has_frame = State.PLAYING, True
        self._started_s, self._start_s = waited, 0.0
        return self._startup_facts(waited)

    def _startup_facts(self, seconds: float) -> list[Fact]:
        reported = self.reported_start_ms
        start, source = (seconds, "measured") if reported is None else (reported / 1000, "cmcd")
        self._startup_s = start
        facts = [Fact("openqoe_video_startup_seconds", (("source", source),), start)]
        facts += _seconds("openqoe_startup_wait_seconds", seconds)
        if self.before_start is not None:
            whole = self.before_start + seconds
            facts.append(Fact("openqoe_aggregate_startup_seconds", (), whole))
        return facts

    def stall(self, cause: str) -> list[Fact]:
        """The player waits for data."""
        self._stall, self._stall_s = cause, 0.0
        if cause == "rebuffer":
            self.state = State.REBUFFERING
            self._rebuffers += 1
        elif cause == "seek":
            self.state = State.SEEKING
        else:
            self.waits = True
        return [Fact("openqoe_rebuffer_events_total", (("cause", cause),))]

    def end_stall(self, reported: float | None = None) -> list[Fact]:
        """The wait is over.

        Args:
            reported: Its duration in s as the player measured it.
        """
        if not self._stall:
            return []
        cause, self._stall = self._stall, ""
        self.make_progress()
        seconds = self._stall_s if reported is None else min(reported, self._stall_s)
        return [_stalled(cause, seconds)]

    def pause(self) -> None:
        """The viewer pauses."""
        self.state, self._is_paused = State.STILL, True

    def fail(self, *, is_fatal: bool, is_over: bool) -> list[Fact]:
        """The player reports an error.

        Args:
            is_fatal: Whether the error says that it is fatal.
            is_over: Whether the player has stopped, so that the viewer waits no longer.
        """
        if self._is_paused and not is_fatal:
            return []  # nothing was to be played
        self._error_at = self.at
        self._error_is_fatal |= is_fatal
        facts: list[Fact] = []
        if is_over and self.state is not State.LOADED:
            if self.state is State.STARTING:
                self._started_s, self._start_s = self._start_s, 0.0
                facts += _seconds("openqoe_startup_wait_seconds", self._started_s)
            if self._stall:
                cause, self._stall = self._stall, ""
                facts.append(_stalled(cause, self._stall_s))
            self.state = State.STILL
        return facts

    def stand_still(self) -> None:
        """The picture stands still without a report."""
        if self.state is State.PLAYING:
            self.state = State.STILL

    def end(self) -> list[Fact]:
        """The video ends."""
        self.state = State.STILL
        self._ended = True
        return self._end_facts("completed", has_frame=True)

    # The end of the view

    def closing(self) -> list[Fact]:
        """What the view adds if it sends no further event."""
        if self._ended:
            return []
        facts: list[Fact] = []
        has_frame, started = self._has_frame, self._started_s
        if self._shows_at_once:
            has_frame = True
            facts += self._startup_facts(0.0)
        elif self.state is State.STARTING:
            facts += _seconds("openqoe_startup_wait_seconds", self._start_s)
            started = self._start_s
        if self._stall:
            facts.append(_stalled(self._stall, self._stall_s))
        facts += _seconds("openqoe_playing_time_seconds", self._untold / 1000)
        if self._requested:
            how = self._outcome(started, has_frame=has_frame)
            facts += self._end_facts(how, has_frame=has_frame)
        return facts

    def _outcome(self, started: float, *, has_frame: bool) -> str:
        has_failed = self._error_at is not None and (
            self._error_is_fatal or self.at - self._error_at <= ERROR_IS_LAST
        )
        if has_frame:
            return "playback_failure" if has_failed else "stopped"
        if has_failed:
            return "start_failure"
        return "bounce" if started < BOUNCE else "exit_before_start"

    def _end_facts(self, how: str, *, has_frame: bool) -> list[Fact]:
        facts = [Fact("openqoe_view_outcomes_total", (("outcome", how),))]
        if has_frame:
            facts.append(Fact("openqoe_view_rebuffer_seconds", (), self._rebuffering_s))
            if self.duration is not None:
                ratio = min(1.0, (self._furthest / 1000) / (self.duration / 1000))
                facts.append(Fact("openqoe_completion_rate", (), ratio))
        success = SUCCESS.get(how)
        if success is None:
            return facts
        parts = self._scores() if has_frame else {}
        whole = success * (sum(parts.values()) / len(parts) / 100 if parts else 1.0)
        for part, points in {**parts, "success": success, "all": whole}.items():
            facts.append(Fact("openqoe_view_score", (("part", part),), points))
        return facts

    def _scores(self) -> dict[str, float]:
        """The parts by the formulas that Mux publishes."""
        parts = {"startup": 100 * 8 / (8 + self._startup_s)}
        watched = self._playing_s + self._rebuffering_s
        share = self._rebuffering_s / watched if watched else 0.0
        often = 100 / sqrt(1 + (self._rebuffers / 2) ** 2)
        parts["smoothness"] = (often + 100 * exp(-10 * share)) / 2
        if self._scale_s:
            mean = self._upscale_s / self._scale_s
            parts["quality"] = 100 * exp(-0.33 * (0.15 * self._max_upscale + 0.85 * mean))
        return parts


def _seconds(metric: str, value: float, *own: tuple[str, str]) -> list[Fact]:
    return [Fact(metric, own, value)] if value else []


def _stalled(cause: str, seconds: float) -> Fact:
    return Fact("openqoe_rebuffer_duration_seconds", (("cause", cause),), seconds)
