"""Properties of the playback model for any input: bounds, order, repetition, outcomes."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.events.event_types import Event
from openqoe.core.qoe import playback
from openqoe.core.qoe.observation import Observation
from openqoe.core.qoe.playback_state import Mark, Playback
from openqoe.core.qoe.sources import sdk
from openqoe.core.qoe.sources.sdk import RULES
from openqoe.core.qoe.view import View, ViewKey
from openqoe.core.qoe.vocabulary import ObservationKind
from tests.support.event_builders import NOW
from tests.support.rig import player_event

TIMES = (
    ObservationKind.WATCHED,
    ObservationKind.STARTUP_WAIT,
    ObservationKind.STARTUP,
    ObservationKind.BITRATE_KNOWN,
    ObservationKind.RENDITION_PLAYED,
    ObservationKind.SCALE_KNOWN,
    ObservationKind.VIEW_REBUFFER_TIME,
)
"""Observations in s, of which a view cannot have more than it lasted."""

_to_event = msgspec.json.Decoder(Event).decode

seconds = st.one_of(st.integers(0, 300), st.floats(0, 300, allow_nan=False))
data = st.fixed_dictionaries(
    {},
    optional={
        "playing_time": st.integers(0, 300_000),
        "bitrate": st.sampled_from([250_000, 3_000_000]),
        "stall_duration": st.integers(0, 400_000),
        "seek_latency": st.integers(0, 400_000),
        "to": st.integers(0, 300_000),
        "quartile": st.sampled_from([25, 50, 75, 100]),
        "completion_rate": st.floats(0, 1),
        "video_startup_time": st.integers(0, 100_000),
        "player_startup_time": st.integers(0, 100_000),
        "dropped_frames": st.integers(0, 1000),
        "resolution": st.sampled_from([{"width": 640, "height": 360}, {"height": 1080}]),
        "framerate": st.just(25),
        "error_code": st.sampled_from(["-1", "2"]),
        "playback_rate": st.sampled_from([0.5, 1, 2]),
    },
)
events = st.builds(
    lambda second, event_type, position, player, data: player_event(
        second, event_type, position, player=player, **data
    ),
    seconds,
    st.sampled_from([*RULES, "custom"]),
    st.none() | seconds,
    st.just("hlsjs"),
    data,
)
players = st.sampled_from(["hlsjs", "dashjs", "html5", "shaka", "videojs", "own"])
stories = st.lists(events, min_size=1, max_size=30)


def batches_of(story: list[dict[str, Any]], player: str, cuts: int) -> list[list[Event]]:
    made = [_to_event(msgspec.json.encode({**one, "player": {"name": player}})) for one in story]
    size = max(1, len(made) // cuts)
    return [made[n : n + size] for n in range(0, len(made), size)]


def observed(batches: list[list[Event]], *, spread: int = 0) -> tuple[list[Observation], Playback]:
    """What a view gives whose batches arrive one after the other, then ends."""
    view = View(ViewKey("org", "view", None, None), ())
    out: list[Observation] = []
    for number, batch in enumerate(batches):
        signals = [signal for event in batch for signal in sdk.signals_of(event)]
        at = NOW + 400_000 + number * spread
        out += playback.apply_signals(view, signals, at, at)
    out += playback.end_view(view)
    return out, view.playback


def sums(out: list[Observation]) -> dict[tuple[str, str, str], float]:
    found: dict[tuple[str, str, str], float] = {}
    for one in out:
        key = (one.kind.name, one.label, one.detail)
        found[key] = found.get(key, 0.0) + (1.0 if one.value is None else one.value)
    return {key: round(value, 6) for key, value in found.items() if round(value, 6)}


@given(stories, players, st.integers(1, 6), st.integers(0, 30_000))
@settings(max_examples=100)
def test_times_are_never_negative_and_never_more_than_the_view_lasted(
    story: list[dict[str, Any]], player: str, cuts: int, spread: int
) -> None:
    out, state = observed(batches_of(story, player, cuts), spread=spread)
    assert all(one.value is None or one.value >= 0 for one in out)
    times = [one["event_time"] for one in story]
    # The begin of a seek follows from its latency.
    wall = (max(times) - min(times)) / 1000
    assert state.first_at is not None
    wall = max(wall, (max(times) - state.first_at) / 1000)
    for kind in TIMES:
        total = sum(one.value or 0.0 for one in out if one.kind is kind)
        documented = kind is ObservationKind.STARTUP and player == "own"
        assert documented or total <= wall + 1e-6, kind
    spent = state.starting_s + state.playing_s + state.rebuffering_s
    assert min(state.starting_s, state.playing_s, state.rebuffering_s) >= -1e-6
    assert spent <= wall + 1e-6


@given(stories, players, st.integers(1, 6), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_order_and_repetition_of_batches_change_nothing(
    story: list[dict[str, Any]], player: str, cuts: int, chance: random.Random
) -> None:
    """As long as they arrive within the reorder window."""
    batches = batches_of(sorted(story, key=lambda one: one["event_time"]), player, cuts)
    again = [*batches, *chance.sample(batches, len(batches) // 2 + 1)]
    chance.shuffle(again)
    in_order, shuffled = observed(batches)[0], observed(again)[0]
    # Totals that contradict each other depend on which came first: they are bounded, see totals.
    # So does whether the view was counted elsewhere before, if its beginning was not seen.
    apart = {
        "VIEW_STARTED",
        "TOTAL_IGNORED",
        "MEDIA_PLAYED",
        "FRAMES_DROPPED",
        "EXPECTED_FRAMES_DROPPED",
    }
    expected = {key: value for key, value in sums(in_order).items() if key[0] not in apart}
    assert {key: value for key, value in sums(shuffled).items() if key[0] not in apart} == expected


@given(st.lists(st.tuples(stories, players), min_size=1, max_size=3), st.integers(1, 4))
@settings(max_examples=100)
def test_each_view_that_was_asked_to_play_has_one_outcome(
    views: list[tuple[list[dict[str, Any]], str]], cuts: int
) -> None:
    requested = ended = 0
    for story, player in views:
        out, state = observed(batches_of(story, player, cuts))
        kinds = Counter(one.kind for one in out)
        requested += state.has(Mark.REQUESTED)
        ended += kinds[ObservationKind.OUTCOME]
        assert kinds[ObservationKind.VIEW_STARTED] <= 1
    assert ended == requested


@pytest.mark.parametrize("player", ["hlsjs", "dashjs", "shaka"])
def test_view_that_ends_twice_is_observed_once(player: str) -> None:
    batches = batches_of(
        [player_event(0, "playing", 0.0), player_event(9, "pause", 9.0)], player, 1
    )
    view = View(ViewKey("org", "view", None, None), ())
    signals = [signal for event in batches[0] for signal in sdk.signals_of(event)]
    out = playback.apply_signals(view, signals, NOW, NOW)
    out += playback.end_view(view)
    out += playback.end_view(view)
    kinds = Counter(one.kind for one in out)
    assert kinds[ObservationKind.OUTCOME] == 1
    assert kinds[ObservationKind.VIEWER_PAUSE] == 1
