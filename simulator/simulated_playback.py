"""One playback: start-up, buffer, ABR, stalls, and actions of the viewer.

A playback generates signals, the moments that an SDK can observe, in order of time. It jumps from
one to the next, so an idle minute costs nothing. Its attributes are the values that an SDK
reads from the player at such a moment: position, buffer, rendition, totals.

Times are ms since the epoch, positions and durations ms of media time unless said otherwise. All
are whole: events report whole ms, and a viewer's times must be exact sums of theirs.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Final

from .incidents import Circumstances, Condition
from .network import Network
from .world import LADDER, PROGRESSIVE, Country, Device, Rendition, Site, Video

SEGMENT: Final = 4_000.0
"""ms of media in a segment."""

BUFFER_GOAL: Final = 24_000.0
"""ms of buffer at which a player stops loading ahead; live streams have less."""
BUFFER_GOAL_LIVE: Final = 8_000.0

HEARTBEAT: Final = 10_000.0

STALL_LAG: Final = 3.0
"""ms after a play request at which a player reports that it has to wait."""

START_QUIET: Final = 300.0
"""ms after the first frame without another event: those that it explains come at once."""

ATTEMPTS: Final = 4
"""Requests for a segment before the player gives up."""

FORWARD: Final = 30_000.0
BACK: Final = 15_000.0
"""Shortest seek of a viewer: longer than the time between two events of a view, so that a seek does
not look like playback."""

LIVE_TIMELINE: Final = 6_005.0
"""Position of a live stream when it is joined (its window slides)."""

NEVER: Final = math.inf


class Signal(Enum):
    """A moment that an SDK can observe."""

    LOAD = auto()
    READY = auto()
    CAN_PLAY = auto()
    PLAY = auto()
    PLAYING = auto()
    STALL = auto()
    STALL_OVER = auto()
    SWITCH = auto()
    """A switch of the rendition begins."""
    RENDITION = auto()
    FRAGMENT = auto()
    BEAT = auto()
    PAUSE = auto()
    SEEKED = auto()
    QUARTILE = auto()
    ENDED = auto()
    ERROR = auto()
    HIDDEN = auto()
    SHOWN = auto()
    VOLUME = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the player.

    Attributes:
        kind: "segment", "manifest", "rights" or "decoder".
        is_fatal: Whether it ends playback.
    """

    kind: str
    is_fatal: bool


TimedSignal = tuple[Signal, float]


class Playback:
    """One playback of one video by one viewer.

    Attributes:
        site, video, device, country: Those of the viewer.
        navigation: When the page was opened.
        position: Playback position.
        played: Media time played so far.
        ahead: Media in the buffer.
        rendition: The rendition on the screen; None before the first choice.
        chosen: The rendition that is being loaded.
        estimate: Throughput as the player estimates it, bit/s; 0 before the first segment.
        dropped: Frames dropped so far.
        stalls, stalled: Number and duration of all stalls so far, of any cause.
        cause: Cause of the latest stall: "startup", "seek" or "rebuffer".
        stall_began: Start of the latest stall.
        latency: Duration of the latest seek.
        reached: The latest quartile.
        failure: The latest error.
        load_at: When the load of the video began.
        fetched: The latest segment: bytes, ms until the first byte, ms in total.
    """

    def __init__(
        self,
        site: Site,
        video: Video,
        device: Device,
        country: Country,
        is_newest: bool,
        network: Network,
        circumstances: Circumstances,
        rng: Random,
        at: float,
        navigation: float,
    ) -> None:
        self.site = site
        self.video = video
        self.device = device
        self.country = country
        self.navigation = navigation
        self.position = LIVE_TIMELINE if video.is_live else 0.0
        self.played = 0.0
        self.ahead = 0.0
        self.rendition: Rendition | None = None
        self.chosen: Rendition = PROGRESSIVE[0]
        self.estimate = 0.0
        self.dropped = 0
        self.stalls = 0
        self.stalled = 0.0
        self.cause = ""
        self.stall_began = 0.0
        self.latency = 0.0
        self.reached = 0
        self.failure = Failure("", False)
        self.load_at = at
        self.fetched = (0, 0.0, 0.0)
        self.end = NEVER if video.is_live else video.seconds * 1000.0
        self._is_newest = is_newest
        self._network = network
        self._circumstances = circumstances
        self._rng = rng
        self._now = at
        self._runs = False
        self._ladder = self._renditions()
        self._until_counted = 0.0  # players count the first moments of playing late
        self._to_show: deque[tuple[float, Rendition]] = deque()
        self._frames = 0.0

    # The phases of a playback

    def run(self) -> Iterator[TimedSignal]:
        """Generate all signals in order of time, until the page is closed or the viewer starts
        another video."""
        if not (yield from self._start()):
            return
        yield from self._play()

    def _start(self) -> Generator[TimedSignal, None, bool]:
        """Load the video until the first frame; returns whether there was one."""
        rng = self._rng
        yield Signal.LOAD, self._now
        condition = self._condition()
        loaded_at = self._now
        round_trips = self._round_trip(condition) * rng.uniform(2.0, 4.0)
        self._now += round(round_trips + rng.uniform(15, 80))
        if rng.random() < self.country.blocked:
            yield from self._fail_to_start("rights", loaded_at)
            return False
        if rng.random() < condition.loss / 2:
            self._now += self._ms(4_000, 10_000)
            yield from self._fail_to_start("manifest", loaded_at)
            return False
        yield Signal.READY, self._now
        patience = self._ms(11_000, 30_000)
        wants_at = self._now + (self._ms(5, 60) if self.site.autoplay else self._ms(400, 3_500))
        self.chosen = self._ladder[min(1, len(self._ladder) - 1)]
        loaded_at = self._now + self._fetch_time(condition)
        self.ahead = SEGMENT
        self.rendition = self.chosen
        first_choice = (Signal.RENDITION, self._now + round((loaded_at - self._now) * 0.6))
        if loaded_at <= wants_at:
            yield first_choice
            yield Signal.CAN_PLAY, loaded_at
            self._now = wants_at
            yield Signal.PLAY, self._now
        else:
            plan = [first_choice, (Signal.PLAY, wants_at), (Signal.STALL, wants_at + STALL_LAG)]
            beats = int(patience // HEARTBEAT)
            plan += [(Signal.BEAT, wants_at + HEARTBEAT * n) for n in range(1, beats + 1)]
            # Nothing in events shows the order of two in one ms: the request counts as the first.
            for signal, at in sorted(plan, key=lambda seen: (int(seen[1]), seen[0] != Signal.PLAY)):
                if at > wants_at + patience or (signal is Signal.BEAT and at >= loaded_at):
                    break
                if signal is Signal.STALL:
                    self._begin_stall("startup", at)
                yield signal, at
            if loaded_at > wants_at + patience:
                self._now = wants_at + patience
                yield Signal.CLOSED, self._now
                return False
            self._now = max(loaded_at, wants_at + STALL_LAG + 1.0)
            yield Signal.CAN_PLAY, self._now
            self._end_stall()
            yield Signal.STALL_OVER, self._now
        yield Signal.PLAYING, self._now
        return True

    def _play(self) -> Iterator[TimedSignal]:
        rng = self._rng
        condition = self._condition()
        self._set_running(True)
        begun = self._now
        acts = self._plan()
        leaves_at = begun + self._stay()
        stall_patience = self._ms(6_000, 45_000)
        breaks_at = NEVER
        if rng.random() < max(self.device.faults, condition.failing):
            breaks_at = begun + self._ms(START_QUIET, 20_000)
        next_beat = begun + HEARTBEAT
        resumes_at = shown_at = NEVER
        tries = 0
        fetch_done = self._now + max(START_QUIET, self._fetch_time(condition))
        while True:
            running = self._runs
            until_shown = until_quartile = until_empty = NEVER
            if running:
                until_empty = self._now + self.ahead
                until_quartile = self._now + self._to_quartile()
                if self._to_show:
                    until_shown = self._now + self._to_show[0][0] - self.position
            # Not in the ms of what has just happened: nothing in events would show the order.
            act_at = max(acts[0][0], self._now + 1.0) if acts else NEVER
            gives_up_at = NEVER if running else self.stall_began + stall_patience
            if resumes_at < NEVER:
                gives_up_at = NEVER
            at = min(
                *(fetch_done, next_beat, act_at, resumes_at, shown_at, leaves_at, breaks_at),
                *(until_shown, until_quartile, until_empty, gives_up_at),
            )
            self._advance(max(at, self._now))
            if at in (leaves_at, gives_up_at):
                yield Signal.CLOSED, self._now
                return
            if at == breaks_at:
                self.failure = Failure("decoder", True)
                yield Signal.ERROR, self._now
                yield from self._give_up()
                return
            if at == fetch_done:
                condition = self._condition()
                if rng.random() < condition.loss:
                    tries += 1
                    self.failure = Failure("segment", tries >= ATTEMPTS)
                    yield Signal.ERROR, self._now
                    if tries >= ATTEMPTS:
                        if self._runs and self.site.player == "dashjs":  # it reports no error
                            self._begin_stall("rebuffer", self._now)
                            yield Signal.STALL, self._now
                        yield from self._give_up()
                        return
                    fetch_done = self._now + 1_000.0 * tries + self._fetch_time(condition)
                    continue
                tries = 0
                yield from self._add_segment()
                fetch_done = self._next_fetch(condition)
                if not self._runs and resumes_at == NEVER and self._has_enough():
                    yield from self._resume()
            elif at == until_empty and self.position >= self.end - 1.0:
                self.position = self.end
                yield from self._quartiles()
                self._set_running(False)
                yield Signal.PAUSE, self._now
                yield Signal.ENDED, self._now
                self._now += self._ms(500, 6_000)
                yield Signal.CLOSED, self._now
                return
            elif at == until_empty:
                self._set_running(False)
                self._begin_stall("rebuffer", self._now)
                yield Signal.STALL, self._now
            elif at == until_quartile:
                yield from self._quartiles()
            elif at == until_shown:
                self.rendition = self._to_show.popleft()[1]
                yield Signal.RENDITION, self._now
            elif at == next_beat:
                next_beat += HEARTBEAT
                yield Signal.BEAT, self._now
            elif at == resumes_at:
                resumes_at = NEVER
                next_beat = self._now + HEARTBEAT
                yield Signal.PLAY, self._now
                self._set_running(True)
                yield Signal.PLAYING, self._now
            elif at == shown_at:
                shown_at = NEVER
                yield Signal.SHOWN, self._now
            elif at == act_at:
                _, act = acts.pop(0)
                if not self._runs or self.end - self.position < 8_000:
                    continue
                if act == "pause":
                    self._set_running(False)
                    resumes_at = self._now + self._ms(2_500, 40_000)
                    next_beat = NEVER
                    yield Signal.PAUSE, self._now
                elif act == "hide":
                    shown_at = self._now + self._ms(4_000, 60_000)
                    yield Signal.HIDDEN, self._now
                elif act == "volume":
                    yield Signal.VOLUME, self._now
                elif (target := self._target()) is not None:
                    done = yield from self._seek(target, condition, next_beat, leaves_at)
                    if not done:
                        return
                    fetch_done = self._next_fetch(condition)
                    while next_beat <= self._now:
                        next_beat += HEARTBEAT

    def _seek(
        self, target: float, condition: Condition, next_beat: float, leaves_at: float
    ) -> Generator[TimedSignal, None, bool]:
        """Seek; returns whether the viewer waited for the picture."""
        moved = target - self.position
        self._set_running(False)
        self.position = target
        began = self._now
        if 0 < moved < self.ahead:
            self.ahead -= moved
            arrives = began + self._ms(15, 70)
        else:
            self.ahead = 0.0
            arrives = began + 20 + self._fetch_time(condition)
            self._to_show.clear()
        self._begin_stall("seek", began)
        yield Signal.STALL, began
        gives_up = min(leaves_at, began + self._ms(10_000, 40_000))
        while next_beat < min(arrives, gives_up):
            self._now = next_beat
            yield Signal.BEAT, self._now
            next_beat += HEARTBEAT
        if gives_up < arrives:
            self._now = gives_up
            yield Signal.CLOSED, self._now
            return False
        self._now = arrives
        self.latency = arrives - began
        if self.ahead == 0.0:
            yield from self._add_segment()
        yield from self._quartiles()
        yield Signal.SEEKED, self._now
        yield from self._resume()
        return True

    def _resume(self) -> Iterator[TimedSignal]:
        """End a stall."""
        self._end_stall()
        yield Signal.STALL_OVER, self._now
        self._set_running(True)
        yield Signal.CAN_PLAY, self._now
        yield Signal.PLAYING, self._now

    def _give_up(self) -> Iterator[TimedSignal]:
        """The viewer leaves because playback does not work."""
        self._now += self._ms(1_500, 9_500)
        yield Signal.CLOSED, self._now

    def _fail_to_start(self, kind: str, loaded_at: float) -> Iterator[TimedSignal]:
        """The player cannot load the video. With autoplay it was already asked to play."""
        if self.site.autoplay:
            wants_at = loaded_at + 2.0
            yield Signal.PLAY, wants_at
            self._begin_stall("startup", wants_at + STALL_LAG)
            yield Signal.STALL, self.stall_began
            self._now = max(self._now, self.stall_began + 1.0)
        self.failure = Failure(kind, True)
        yield Signal.ERROR, self._now
        yield from self._give_up()

    # Time, buffer and bit rate

    def _advance(self, at: float) -> None:
        passed = at - self._now
        self._now = at
        if not self._runs:
            return
        self.position += passed
        self.ahead = max(0.0, self.ahead - passed)
        counted = max(0.0, passed - self._until_counted)
        self._until_counted = max(0.0, self._until_counted - passed)
        self.played += counted
        if self.rendition is not None:
            share = (self.rendition.height / 1080) ** 2 * self.device.weakness / 60_000
            self._frames += passed * share * self._rng.uniform(0.0, 2.0)
            self.dropped = int(self._frames)

    def _set_running(self, runs: bool) -> None:
        self._runs = runs
        if runs:
            self._until_counted = self._ms(80, 220)

    def _ms(self, least: float, most: float) -> float:
        """A random duration, whole."""
        return float(round(self._rng.uniform(least, most)))

    def _begin_stall(self, cause: str, at: float) -> None:
        self.cause, self.stall_began = cause, at
        self.stalls += 1

    def _end_stall(self) -> None:
        self.stalled += self._now - self.stall_began

    def _renditions(self) -> tuple[Rendition, ...]:
        if self.site.player == "html5":
            return PROGRESSIVE
        return tuple(one for one in LADDER if one.height <= self.device.height)

    def _condition(self) -> Condition:
        return self._circumstances.condition(
            self._now, self.country, is_newest=self._is_newest, is_live=self.video.is_live
        )

    def _round_trip(self, condition: Condition) -> float:
        return self._network.rtt + condition.delay

    def _fetch_time(self, condition: Condition) -> float:
        """ms to load the next segment; updates the player's estimate of the throughput."""
        rate = self._network.throughput(self._now) * condition.speed
        first_byte = self._round_trip(condition) * self._rng.uniform(1.0, 1.6)
        bits = self.chosen.bps * SEGMENT / 1000 * self._rng.uniform(0.75, 1.3)
        duration = first_byte + bits / rate * 1000
        if condition.gaps and self._rng.random() < condition.gaps:
            duration += self._rng.uniform(4_000, 14_000)
        self.fetched = (int(bits / 8), first_byte, duration)
        measured = bits / duration * 1000
        self.estimate = measured if not self.estimate else 0.7 * self.estimate + 0.3 * measured
        return float(math.ceil(duration))

    def _add_segment(self) -> Iterator[TimedSignal]:
        """Add a loaded segment to the buffer, and choose the next rendition."""
        shown = self._to_show[-1][1] if self._to_show else self.rendition
        if self.chosen is not shown:
            self._to_show.append((self.position + self.ahead, self.chosen))
            yield Signal.SWITCH, self._now
        self.ahead = min(self.ahead + SEGMENT, self.end - self.position)
        if self._rng.random() < 0.1:
            yield Signal.FRAGMENT, self._now
        # Players are cautious while the buffer is short.
        share = 0.85 if self.ahead > 12_000 else 0.65
        fitting = [one for one in self._ladder if one.bps <= self.estimate * share]
        self.chosen = fitting[-1] if fitting else self._ladder[0]

    def _next_fetch(self, condition: Condition) -> float:
        """When the next segment will be loaded."""
        if self.position + self.ahead >= self.end - 1.0:
            return NEVER
        enough = BUFFER_GOAL_LIVE if self.video.is_live else BUFFER_GOAL
        waits = max(0.0, self.ahead + SEGMENT - enough)
        return self._now + waits + self._fetch_time(condition)

    def _has_enough(self) -> bool:
        return self.ahead >= min(SEGMENT, self.end - self.position)

    # Milestones and actions

    def _to_quartile(self) -> float:
        if self.reached >= 75 or self.video.is_live:  # the last quartile is the end
            return NEVER
        return max(0.0, self.end * (self.reached + 25) / 100 - self.position)

    def _quartiles(self) -> Iterator[TimedSignal]:
        while self.end < NEVER and self.reached < 100:
            following = self.reached + 25
            if self.position < self.end * following / 100 - 0.5:
                return
            self.reached = following
            yield Signal.QUARTILE, self._now

    def _stay(self) -> float:
        """Longest stay of the viewer, in ms from the first frame."""
        rng = self._rng
        if rng.random() < 0.12:
            return self._ms(2_000, 15_000)  # the viewer does not like the video
        if self.video.is_live:
            return float(round(min(rng.expovariate(1 / 420_000), 3_600_000))) + 15_000
        if rng.random() < 0.35:
            return self._ms(0.1 * self.end, 0.95 * self.end)
        return self.end * 3 + 600_000

    def _plan(self) -> list[tuple[float, str]]:
        """The viewer's planned actions, unless playback ends earlier."""
        rng = self._rng
        odds = [("pause", 0.22), ("hide", 0.15), ("volume", 0.12)]
        if not self.video.is_live:
            odds += [("seek", 0.22), ("seek", 0.1)]
        span = min(self.end, 240_000.0)
        acts = [
            (self._now + self._ms(0.05 * span, 0.9 * span), act)
            for act, chance in odds
            if rng.random() < chance
        ]
        return sorted(acts)

    def _target(self) -> float | None:
        """Target of a seek; None if the video is too short for one."""
        rng = self._rng
        room = self.end - 5_000 - self.position
        if rng.random() < 0.6 and room > FORWARD:
            return self.position + self._ms(FORWARD, min(room, 4 * FORWARD))
        if self.position > BACK + 3_000:
            return self.position - self._ms(BACK, min(self.position - 1_000, 3 * BACK))
        return None
