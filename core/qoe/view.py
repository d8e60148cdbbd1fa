"""The state of one view: one playback of one video.

A worker may hold a million views, so every byte counts: views share equal values, and rarely used
members are created on demand.
"""

from functools import cache
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Self

import msgspec

from ..events.event_types import Event, Text
from ..metrics.series import Labels
from .totals import RESTARTS_KEPT, RunningTotal


class ViewKey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The identity of a view.

    The SDK keeps one view_id over several videos of a page, each with its own player adapter and
    totals, so video and player are part of it.

    A struct, not a tuple: on each new tuple key the garbage collector would traverse the whole
    dictionary, which may hold a million, and a tuple is half as large again.
    """

    org_id: str
    view_id: str
    video: str | None
    player: str | None


NO_VIEW = "unknown"
"""The SDK's view_id for events after the end of its session: they belong to no view."""


MAX_KEY_TEXT = 128
"""Characters of the video or the player in a key. Nearly all ids are shorter; of a longer one the
start is kept, followed by a hash of all of it."""


def view_key(event: Event) -> ViewKey:
    video, player = event.video, event.player
    return ViewKey(
        event.org_id,
        event.view_id,
        None if video is None else _key_text(video.id),
        None if player is None else _key_text(player.name),
    )


def _key_text(value: Text) -> str | None:
    text = as_text(value)
    if text is None or len(text) <= MAX_KEY_TEXT:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return text[: MAX_KEY_TEXT - len(digest)] + digest


def as_text(value: Text) -> str | None:
    """Converts a number to its digits, as in labels: JSON has larger ones than msgpack holds."""
    return str(value) if isinstance(value, int) else value


Number = int | float
"""A number as the player sent it: a snapshot must return exactly the number that was stored."""


class Stall(msgspec.Struct, array_like=True, gc=False, eq=False):
    """The latest stall of a view, from its start until it is counted.

    Attributes:
        start: Event time in ms.
        position: Media position in s, if known.
        has_end: Whether the player sends an end for each start.
        cause: "startup", "seek" or "rebuffer"; None while a seek event may still explain it.
        duration: In s, once it has ended.
        ended_at: Event time in ms of its reported end, once it has ended.
    """

    start: Number
    position: Number | None
    has_end: bool
    cause: str | None = None
    duration: Number | None = None
    ended_at: Number = 0


class ViewState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A view in a snapshot: its attributes, without the labels, which the snapshot numbers."""

    key: ViewKey
    last_seen: int
    generation: int
    started: bool
    completed: bool
    completion_observed: bool
    quartiles: frozenset[int]
    quartile: int
    playing: bool
    playing_at: Number
    restarts: tuple[Number, ...]
    played: RunningTotal
    dropped_frames: RunningTotal
    play_requested: bool
    startup_known: bool
    player_startup_ms: Number | None
    can_play_ms: Number | None
    video_bps: Number | None
    audio_bps: Number | None
    height: Number | None
    first_position: Number | None
    last_position: Number | None
    last_position_at: Number
    progressed: bool
    stall: Stall | None
    open_pause: Number | None
    log_position: int = 0
    entries_applied: int = 0


class Milestones(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Facts that become true once in the life of a view.

    There are few distinct ones. Views share them: each is created once and lives as long as the
    process.

    Attributes:
        generation: The view's SDK generation, 0 while unknown.
        completion_observed: Whether its completion has been emitted.
        quartile: Highest quartile reached, 0 if none.
        progressed: Whether it has shown anything.
        successors: Milestones that differ in one value, by that value.
    """

    generation: int = 0
    started: bool = False
    completed: bool = False
    completion_observed: bool = False
    quartiles: frozenset[int] = frozenset()
    quartile: int = 0
    play_requested: bool = False
    startup_known: bool = False
    progressed: bool = False
    successors: dict[tuple[str, object], "Milestones"] = {}

    def with_reached(self, name: str, value: object) -> "Milestones":
        """These milestones with one more reached."""
        successor = self.successors.get((name, value))
        if successor is None:
            values = {each: getattr(self, each) for each in _MILESTONES}
            values[name] = value
            values["quartile"] = max(values["quartiles"], default=0)
            successor = self.successors[name, value] = _interned(tuple(values.values()))
        return successor


_MILESTONES = Milestones.__struct_fields__[:-1]


@cache
def _interned(values: tuple[Any, ...]) -> Milestones:
    """The only instance with these values."""
    return Milestones(*values)


_milestones_of = attrgetter(*_MILESTONES)
_NO_MILESTONES = _interned(_milestones_of(Milestones()))


class View(msgspec.Struct, gc=False, eq=False):
    """The state of one view. Times are event times in ms unless noted otherwise.

    Views are in no reference cycle, so the garbage collector ignores them: traversing a million
    would pause the process.

    Attributes:
        labels: Base labels of the latest event.
        last_seen: Arrival of the latest event, ms.
        milestones: Facts reached so far.
        played: Total of the media time played; None before the first report.
        dropped_frames: Total of frames dropped; None before the first report.
        playing: Whether it was playing at its latest event.
        open_pause: Time of a pause that an ``ended`` may still explain.
        log_position: Entries of its shared log applied so far (``core/cluster/view_log``).
        entries_applied: The same, including entries of logs that the store has lost.
        is_concurrent: Whether it counts as playing until it falls silent.
    """

    key: ViewKey
    labels: Labels
    last_seen: int = 0
    milestones: Milestones = _NO_MILESTONES
    playing: bool = False
    playing_at: Number = 0.0
    restarts: tuple[Number, ...] = ()
    played: RunningTotal | None = None
    dropped_frames: RunningTotal | None = None
    player_startup_ms: Number | None = None
    can_play_ms: Number | None = None
    video_bps: Number | None = None
    audio_bps: Number | None = None
    height: Number | None = None
    first_position: Number | None = None
    last_position: Number | None = None
    last_position_at: Number = 0.0
    stall: Stall | None = None
    open_pause: Number | None = None
    log_position: int = 0
    entries_applied: int = 0
    is_concurrent: bool = False

    @classmethod
    def from_state(cls, state: ViewState, labels: Labels) -> Self:
        """Restores a view of a snapshot."""
        view = cls(state.key, labels, state.last_seen, log_position=state.log_position)
        view.load_state(state)
        return view

    def load_state(self, state: ViewState) -> None:
        """Adopts the state that another worker has of the view."""
        for name in _COPIED_FIELDS:
            setattr(self, name, getattr(state, name))
        self.milestones = _interned(_milestones_of(state))
        self.played = state.played.or_none()
        self.dropped_frames = state.dropped_frames.or_none()

    def reach_milestone(self, name: str, value: object = True) -> None:
        """Records a milestone."""
        self.milestones = self.milestones.with_reached(name, value)

    def record_restart(self, at: float) -> None:
        """Records a start event, after which totals may restart."""
        if at not in self.restarts:
            self.restarts = tuple(sorted((*self.restarts, at)))[-RESTARTS_KEPT:]

    def record_position(self, position: float, at: float) -> None:
        """Records the media position (s) of an event."""
        if self.first_position is None:
            self.first_position = position
        elif not self.milestones.progressed and position > self.first_position + 0.5:
            self.reach_milestone("progressed")
        if at >= self.last_position_at:
            self.last_position, self.last_position_at = position, at

    def record_playing(self, playing: bool, at: float) -> None:
        """Records whether the view plays, unless a later event has been applied already."""
        if at >= self.playing_at:
            self.playing, self.playing_at = playing, at


_UNREPORTED = RunningTotal()
"""Stands in a snapshot for a total that was never reported."""

_COPIED_FIELDS = tuple(
    name
    for name in View.__struct_fields__
    if name in ViewState.__struct_fields__
    and name not in ("key", "last_seen", "log_position", "played", "dropped_frames")
)


def capture_view_state(view: View) -> tuple[object, ...]:
    """Captures the state of a view as a tuple that is encoded like a ``ViewState``.

    A tuple, because a flush may write 100,000 views. It shares mutable members with the view, so
    it must be encoded at once.
    """
    reached = view.milestones
    return (
        view.key,
        view.last_seen,
        reached.generation,
        reached.started,
        reached.completed,
        reached.completion_observed,
        reached.quartiles,
        reached.quartile,
        view.playing,
        view.playing_at,
        view.restarts,
        view.played or _UNREPORTED,
        view.dropped_frames or _UNREPORTED,
        reached.play_requested,
        reached.startup_known,
        view.player_startup_ms,
        view.can_play_ms,
        view.video_bps,
        view.audio_bps,
        view.height,
        view.first_position,
        view.last_position,
        view.last_position_at,
        reached.progressed,
        view.stall,
        view.open_pause,
        view.log_position,
        view.entries_applied,
    )
