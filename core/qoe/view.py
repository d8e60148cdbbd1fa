"""What is remembered of one view: one playback of one video.

A view's key is (org_id, view_id, video.id, player.name): the SDK keeps one view_id over
several videos of a page, each with its own player adapter and totals.
"""

from openqoe.core.events.schema import Event
from openqoe.core.qoe.totals import RESTARTS_KEPT, RunningTotal

ViewKey = tuple[str, str, str | int | None, str | int | None]

NO_VIEW = "unknown"
"""The SDK's view_id for events after its session ended: they belong to no view."""

Labels = tuple[tuple[str, str], ...]


def view_key(event: Event) -> ViewKey:
    return (
        event.org_id,
        event.view_id,
        None if event.video is None else event.video.id,
        None if event.player is None else event.player.name,
    )


class Stall:
    """The latest stall of a view, from its start until it has been counted.

    Attributes:
        start: Event time in ms.
        position: Media position in s, if known.
        cause: "startup", "seek" or "rebuffer"; None while a seek event may still explain it.
        duration: In s, once it has ended.
        ended_at: Event time in ms at which its end was told, once it has ended.
        has_end: Whether the player sends an end for each start.
    """

    __slots__ = ("cause", "duration", "ended_at", "has_end", "position", "start")

    def __init__(self, start: float, position: float | None, has_end: bool) -> None:
        self.start = start
        self.position = position
        self.has_end = has_end
        self.cause: str | None = None
        self.duration: float | None = None
        self.ended_at = start


class View:
    """The state of one view. Times are event times in ms unless said otherwise.

    Attributes:
        labels: Base labels of its latest event.
        last_seen: Arrival of its latest event, ms.
        playing: Whether it was playing at its latest event.
        generation: Which SDK generation it speaks, 0 while unknown.
        quartile: Highest quartile reached, 0 if none.
        completion_told: Whether its completion has been measured.
        open_pause: Time of a pause that an ``ended`` may still explain.
    """

    __slots__ = (
        "audio_bps",
        "can_play_ms",
        "completed",
        "completion_told",
        "dropped_frames",
        "first_position",
        "generation",
        "height",
        "key",
        "labels",
        "last_position",
        "last_position_at",
        "last_seen",
        "open_pause",
        "play_requested",
        "played",
        "player_startup_ms",
        "playing",
        "playing_at",
        "progressed",
        "quartile",
        "quartiles",
        "restarts",
        "stall",
        "started",
        "startup_known",
        "video_bps",
    )

    def __init__(self, key: ViewKey, labels: Labels) -> None:
        self.key = key
        self.labels = labels
        self.last_seen = 0
        self.generation = 0
        self.started = False
        self.completed = False
        self.completion_told = False
        self.quartiles: frozenset[int] = frozenset()
        self.quartile = 0
        self.playing = False
        self.playing_at = 0.0
        self.restarts: tuple[float, ...] = ()
        self.played = RunningTotal()
        self.dropped_frames = RunningTotal()
        self.play_requested = False
        self.startup_known = False
        self.player_startup_ms: float | None = None
        self.can_play_ms: float | None = None
        self.video_bps: float | None = None
        self.audio_bps: float | None = None
        self.height: float | None = None
        self.first_position: float | None = None
        self.last_position: float | None = None
        self.last_position_at = 0.0
        self.progressed = False
        self.stall: Stall | None = None
        self.open_pause: float | None = None

    def note_restart(self, at: float) -> None:
        """Remember a start event, after which totals may begin anew."""
        if at not in self.restarts:
            self.restarts = tuple(sorted((*self.restarts, at)))[-RESTARTS_KEPT:]

    def note_position(self, position: float, at: float) -> None:
        """Remember the media position (s) that an event tells."""
        if self.first_position is None:
            self.first_position = position
        elif position > self.first_position + 0.5:
            self.progressed = True
        if at >= self.last_position_at:
            self.last_position, self.last_position_at = position, at

    def note_playing(self, playing: bool, at: float) -> None:
        """Remember whether the view plays, unless a later event has said so already."""
        if at >= self.playing_at:
            self.playing, self.playing_at = playing, at
