"""Upgrade of snapshots of format 1, whose views have the state of an earlier model.

Counters and marks are carried over, so nothing is counted twice: running totals, quartiles, whether
a view was started, completed, or its start-up reported. Times of the playback in progress begin
with the upgrade.
"""

from typing import Any

import msgspec

from ..qoe.playback_state import Mark, Playback, State
from ..qoe.totals import RunningTotal
from ..qoe.view import ViewKey, ViewState

_RECORDER = 4
"""Index of the recorder's state in a snapshot."""


class _OldViewState(msgspec.Struct, array_like=True, frozen=True):
    """A view in a snapshot of format 1."""

    key: ViewKey
    last_seen: int
    generation: int
    started: bool
    completed: bool
    completion_observed: bool
    quartiles: frozenset[int]
    quartile: int
    playing: bool
    playing_at: float
    restarts: tuple[float, ...]
    played: RunningTotal
    dropped_frames: RunningTotal
    play_requested: bool
    startup_known: bool
    player_startup_ms: float | None
    can_play_ms: float | None
    video_bps: float | None
    audio_bps: float | None
    height: float | None
    first_position: float | None
    last_position: float | None
    last_position_at: float
    progressed: bool
    stall: Any
    open_pause: float | None
    log_position: int = 0
    entries_applied: int = 0


def upgrade(snapshot: list[Any]) -> None:
    """Replaces the views of a decoded snapshot of format 1 by those of the current format.

    Raises:
        msgspec.ValidationError, LookupError: It is not such a snapshot.
    """
    views = snapshot[_RECORDER][0]
    for group in (views[0], views[1]):  # live and ended ones
        for view in group:
            view[1] = _upgraded(msgspec.convert(view[1], _OldViewState))


def _upgraded(old: _OldViewState) -> ViewState:
    marks = Mark.LOADED | Mark.BEGAN
    for is_reached, mark in (
        (old.started, Mark.REQUESTED),
        (old.progressed, Mark.SHOWN),
        (old.completed, Mark.ENDED),
        (old.completion_observed, Mark.OBSERVED),
        (old.startup_known, Mark.REPORTED_STARTUP),
    ):
        if is_reached:
            marks |= mark
    for quartile in old.quartiles:
        marks |= Mark.QUARTILES << (quartile // 25 - 1)
    state = State.NEW
    if old.progressed:
        state = State.PLAYING if old.playing else State.PAUSED
    playback = Playback(
        state=state,
        marks=marks,
        generation=old.generation,
        first_at=old.playing_at or None,
        began_at=old.restarts[0] if old.restarts else old.playing_at,
        applied_until=max(old.playing_at, old.last_position_at) or None,
        is_playing=old.playing,
        playing_at=old.playing_at,
        has_frame=old.progressed,
        position=old.last_position,
        position_at=old.last_position_at,
        furthest=max(0.0, old.last_position or 0.0),
        restarts=old.restarts,
        played=old.played if old.played.is_reported else None,
        dropped=old.dropped_frames if old.dropped_frames.is_reported else None,
        bps=old.video_bps,
        audio_bps=old.audio_bps,
        height=old.height,
    )
    return ViewState(old.key, old.last_seen, playback, old.log_position, old.entries_applied)
