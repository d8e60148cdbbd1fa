"""The state of a view, and its copy in a snapshot."""

from __future__ import annotations

import msgspec

from openqoe.core.events.event_types import Event
from openqoe.core.qoe.playback_state import Mark, Playback, Stall, State
from openqoe.core.qoe.signals import Measures, Signal, SignalKind
from openqoe.core.qoe.totals import RunningTotal
from openqoe.core.qoe.view import (
    MAX_KEY_TEXT,
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


def saved(view: View) -> ViewState:
    return decode(encode(capture_view_state(view)))


def test_highest_quartile_follows_from_all_quartiles() -> None:
    state = Playback()
    assert state.quartile == 0
    for number, highest in ((0, 25), (2, 75), (1, 75)):
        state.marks |= Mark.QUARTILES << number
        assert state.quartile == highest
    assert not state.has(Mark.WITHOUT_TOTALS)


def test_view_key_is_encoded_as_list() -> None:
    assert encode(KEY) == encode(("org", "view", None, "hlsjs"))


def test_view_state_has_every_attribute_of_view() -> None:
    not_saved = {"labels", "is_concurrent", "early_expiry", "is_newcomer"}
    assert set(View.__struct_fields__) - not_saved == set(ViewState.__struct_fields__)


def test_restored_view_equals_captured_view() -> None:
    view = View(KEY, (), last_seen=7, log_position=8, entries_applied=9)
    state = view.playback
    values = iter(range(1, 100))
    for name in Playback.__struct_fields__:
        if type(getattr(state, name)) in (int, float):
            setattr(state, name, next(values))
    state.state = State.REBUFFERING
    state.window = (Signal(5, SignalKind.PROGRESS, 1.5),)
    state.arrivals = (6,)
    state.restarts = (3, 4)
    state.stall = Stall("rebuffer", 3.0)
    state.measures = Measures(page_load=1.0)
    state.played = RunningTotal()
    state.played.advance(5, 6, ())
    back = View.from_state(saved(view), ())
    assert encode(capture_view_state(back)) == encode(capture_view_state(view))
    assert back.playback.state is State.REBUFFERING
    assert back.playback.dropped is None, "there is none before the first report"


def test_key_keeps_a_usual_id_and_hashes_any_other() -> None:
    def video_in_key(video_id: str) -> str:
        made = event(video={"id": video_id}, view_id=video_id, player={"name": video_id})
        key = view_key(msgspec.convert(made, Event))
        assert key.player == key.view_id == key.video
        return key.video or ""

    assert video_in_key("0b9e6f5e-7d0c-4a53-8a26-3b7e0f8f7a11") == (
        "0b9e6f5e-7d0c-4a53-8a26-3b7e0f8f7a11"
    )
    hashed = [
        video_in_key(text)
        for text in ("x" * 200 + "1", "x" * 200 + "2", "🎬", "é", "x" * 200 + "1")
    ]
    assert hashed[0] == hashed[-1]
    assert len(set(hashed)) == 4
    assert all(len(text) <= MAX_KEY_TEXT and text.isascii() for text in hashed)
