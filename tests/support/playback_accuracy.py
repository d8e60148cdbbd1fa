"""The playback model against the media element: the error of each time, by recording.

    python -m tests.support.playback_accuracy

prints the table that stands in docs/metrics.md. The truth comes from the DOM events of the media
element in the recordings' notes; the worker sees only what the SDK sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from openqoe.core.events.event_types import Event
from openqoe.core.qoe import playback
from openqoe.core.qoe.observation import Observation
from openqoe.core.qoe.playback_state import Mark
from openqoe.core.qoe.sources import sdk
from openqoe.core.qoe.view import View, ViewKey, view_key
from openqoe.core.qoe.vocabulary import ObservationKind
from tests.support.captures import NAMES, Capture, CapturedRequest, ElementLog, load

SHAKA_STALL_MS = 200
"""A shorter pause of Shaka's playback rate is not visible as a stall."""


@dataclass
class Times:
    """The times of one view, in s.

    Attributes:
        startup: First play request to first frame; None without one.
        rebuffer: Waits after the first frame that belong to no seek and no pause.
        playing: Time in which the picture moved.
        rebuffers: Number of those waits.
    """

    startup: float | None = None
    rebuffer: float = 0.0
    playing: float = 0.0
    rebuffers: int = 0

    @property
    def watched(self) -> float:
        return self.playing + self.rebuffer


def element_times(log: ElementLog, until_ms: float | None = None) -> Times:
    """The times as the media element's own events tell them, up to a moment."""
    end = log.until_ms if until_ms is None else until_ms
    times = Times()
    state, since = "idle", 0.0
    asked: float | None = None
    shown = False
    seeking = False
    events = [event for event in log.events if event.at_ms <= end]

    def enter(new: str, at: float) -> None:
        nonlocal state, since
        if state == "playing":
            times.playing += (at - since) / 1000
        elif state == "rebuffering":
            times.rebuffer += (at - since) / 1000
        state, since = new, at

    for number, event in enumerate(events):
        name, at = event.name, float(event.at_ms)
        if name == "play" and not shown and asked is None:
            asked = at
        elif name == "playing":
            if times.startup is None and asked is not None:
                times.startup = (at - asked) / 1000
            shown, seeking = True, False
            enter("playing", at)
        elif name == "seeking":
            seeking = True
            if state in ("playing", "rebuffering"):
                enter("seeking", at)
        elif name == "waiting" and shown and not seeking and state == "playing":
            times.rebuffers += 1
            enter("rebuffering", at)
        elif name in ("pause", "ended", "loadstart", "error"):
            enter("idle", at)
            shown = shown and name != "loadstart"
        elif name == "ratechange" and state == "playing" and number + 1 < len(events):
            following = events[number + 1]
            is_held = following.position - event.position < 0.1
            if (
                following.name == "ratechange"
                and is_held
                and following.at_ms - event.at_ms > SHAKA_STALL_MS
            ):
                times.rebuffers += 1
                enter("rebuffering", at)
        elif name == "ratechange" and state == "rebuffering":
            enter("playing", at)
    enter("idle", end)
    return times


class ModelRun:
    """The playback model of one worker, fed with the requests of a recording."""

    def __init__(self) -> None:
        self.views: dict[ViewKey, View] = {}
        self.observations: list[Observation] = []

    def post(self, body: bytes, now: int) -> None:
        """Takes a request that arrives at a time (ms)."""
        by_view: dict[ViewKey, list[Event]] = {}
        for event in msgspec.json.decode(body, type=dict[str, list[Event]])["events"]:
            if event.view_id != "unknown":
                by_view.setdefault(view_key(event), []).append(event)
        for key, events in by_view.items():
            view = self.views.setdefault(key, View(key, ()))
            signals = [signal for event in events for signal in sdk.signals_of(event)]
            self.observations += playback.apply_signals(view, signals, now, now)

    def end(self) -> None:
        """Ends all views."""
        for view in self.views.values():
            self.observations += playback.end_view(view)

    def times(self, key: ViewKey) -> Times:
        """The times of a view."""
        view = self.views[key]
        state = view.playback
        startup = [
            one.value
            for one in self.observations
            if one.view is view and one.kind is ObservationKind.STARTUP
        ]
        assert len(startup) <= 1, "a view starts once"
        assert bool(startup) <= state.has(Mark.SHOWN)
        return Times(
            startup[0] if startup else None,
            state.rebuffering_s,
            state.playing_s,
            state.rebuffers,
        )


def run(capture: Capture, requests: Iterable[CapturedRequest] | None = None) -> ModelRun:
    """Passes the requests of a recording to the model, in order of arrival."""
    model = ModelRun()
    for request in capture.posts if requests is None else requests:
        model.post(request.body, capture.t0 + request.t)
    model.end()
    return model


@dataclass(frozen=True)
class Comparison:
    """One view on both sides; `until_ms` is its last event as the SDK sent it."""

    recording: str
    scenario: str
    view_id: str
    model: Times
    element: Times
    element_until_last_event: Times


def compare(name: str, requests: Sequence[CapturedRequest] | None = None) -> list[Comparison]:
    """The views of a recording that have one video, and a media element that was logged."""
    capture = load(name)
    model = run(capture, requests)
    found = []
    for log in capture.element_logs():
        keys = [key for key in model.views if key.view_id == log.view_id]
        if len(keys) != 1:
            continue
        last = model.views[keys[0]].playback.applied_until
        assert last is not None
        found.append(
            Comparison(
                name,
                log.scenario,
                log.view_id,
                model.times(keys[0]),
                element_times(log),
                element_times(log, last),
            )
        )
    return found


PLAYER_FAULTS = frozenset({"88a72701", "2e95bf7c"})
"""Views (beginnings of their ids) of Shaka that report neither wait nor error nor close when the
manifest cannot be loaded: they look like starts."""


def largest_errors() -> dict[str, float]:
    """The largest error of each time over all views of all recordings, in s."""
    views = [one for name in NAMES for one in compare(name)]
    pairs = {
        "startup": [
            (one.model.startup or 0.0, one.element.startup or 0.0)
            for one in views
            if one.view_id[:8] not in PLAYER_FAULTS
        ],
        "rebuffer": [(one.model.rebuffer, one.element_until_last_event.rebuffer) for one in views],
        "playing": [(one.model.playing, one.element_until_last_event.playing) for one in views],
        "watch": [(one.model.watched, one.element_until_last_event.watched) for one in views],
    }
    return {
        name: max(abs(ours - theirs) for ours, theirs in found) for name, found in pairs.items()
    }


if __name__ == "__main__":
    for capture_name in NAMES:
        for one in compare(capture_name):
            print(
                f"{capture_name:12} {one.scenario:7} {one.view_id[:8]} "
                f"startup {one.model.startup} / {one.element.startup}   "
                f"rebuffers {one.model.rebuffers}/{one.element_until_last_event.rebuffers} "
                f"{one.model.rebuffer:.3f}/{one.element_until_last_event.rebuffer:.3f}   "
                f"playing {one.model.playing:.3f}/{one.element_until_last_event.playing:.3f} "
                f"d={one.model.playing - one.element_until_last_event.playing:+.3f} "
                f"(page {one.element.playing:.3f})"
            )
