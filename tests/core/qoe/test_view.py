"""The state of a view, and the parts that views share."""

from __future__ import annotations

import msgspec
import pytest

from openqoe.core.events.event_types import Event
from openqoe.core.qoe.totals import RunningTotal
from openqoe.core.qoe.view import (
    MAX_KEY_TEXT,
    Milestones,
    View,
    ViewKey,
    ViewState,
    capture_view_state,
    view_key,
)
from tests.support.event_builders import event

KEY = ViewKey("org", "view", None, "hlsjs")

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(ViewState).decode


def made() -> View:
    view = View(KEY, ())
    view.reach_milestone("started")
    view.reach_milestone("generation", 2)
    view.reach_milestone("quartiles", frozenset({25}))
    return view


def saved(view: View) -> ViewState:
    return decode(encode(capture_view_state(view)))


def test_views_with_equal_milestones_share_them() -> None:
    one, other = made(), View(KEY, ())
    other.reach_milestone("quartiles", frozenset({25}))
    other.reach_milestone("generation", 1)
    other.reach_milestone("generation", 2)
    assert one.milestones is not other.milestones
    other.reach_milestone("started")
    assert one.milestones is other.milestones
    assert View.from_state(saved(one), ()).milestones is one.milestones


def test_highest_quartile_follows_from_all_quartiles() -> None:
    view = made()
    assert view.milestones.quartile == 25
    view.reach_milestone("quartiles", view.milestones.quartiles | {75})
    view.reach_milestone("quartiles", view.milestones.quartiles | {50})
    assert view.milestones.quartile == 75


def test_shared_milestones_are_immutable() -> None:
    with pytest.raises(AttributeError):
        made().milestones.started = False  # type: ignore[misc]


def test_view_key_is_encoded_as_list() -> None:
    assert encode(KEY) == encode(("org", "view", None, "hlsjs"))


def test_view_state_has_every_attribute_of_view() -> None:
    mine = {*View.__struct_fields__, *Milestones.__struct_fields__}
    not_saved = {"labels", "milestones", "successors", "is_concurrent"}
    assert mine - not_saved == set(ViewState.__struct_fields__)


def test_restored_view_equals_captured_view() -> None:
    view = made()
    values = iter(range(1, 100))
    for name in View.__struct_fields__:
        if isinstance(getattr(view, name), int | float) or getattr(view, name) is None:
            setattr(view, name, next(values))
    view.playing = view.is_concurrent = True
    view.restarts = (3, 4)
    view.stall = None
    view.played, view.dropped_frames = RunningTotal(), None
    view.played.advance(5, 6, ())
    back = View.from_state(saved(view), ())
    assert capture_view_state(back)[:11] == capture_view_state(view)[:11]
    assert capture_view_state(back)[13:] == capture_view_state(view)[13:]
    assert encode(capture_view_state(back)) == encode(capture_view_state(view))
    assert back.dropped_frames is None, "there is none before the first report"


def test_unreported_total_is_saved_as_empty_total() -> None:
    state = saved(View(KEY, ()))
    assert encode(state.played) == encode(RunningTotal())


def test_key_keeps_a_usual_id_and_shortens_a_long_one_to_its_start_and_a_hash() -> None:
    def video_in_key(video_id: str) -> str | None:
        made = event(video={"id": video_id}, player={"name": video_id})
        key = view_key(msgspec.convert(made, Event))
        assert key.player == key.video
        return key.video

    assert video_in_key("film-7") == "film-7"
    long = [video_in_key("https://a.example/" + "x" * 1_900 + end) for end in ("1", "2", "1")]
    assert long[0] == long[2] != long[1]
    assert all(text and text.startswith("https://a.example/") for text in long)
    assert {len(text or "") for text in long} == {MAX_KEY_TEXT}
