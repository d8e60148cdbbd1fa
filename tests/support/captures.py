"""Recorded traffic of real players (`tests/captures`), and the counts of a correct worker for it.

    capture = load("sdk2-hlsjs")
    for request in capture.shifted(now_ms):     # the same requests, moved so that the last is now
        ...
    truth(capture).views["b75e36fe-…", "aurora", "hlsjs"].reported.rebuffers

The truth has two sides. `reported` is derived from the recorded events: the best that a collector
can know. `element` is derived from the DOM events of the media element. They differ where the SDK
omits or misreports a fact. Tests compare the worker with `reported`, and `reported` with `element`.
This code shares nothing with the worker. `python -m tests.support.captures` prints the truth.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

DIRECTORY: Final = Path(__file__).resolve().parent.parent / "captures"
NAMES: Final = tuple(
    f"sdk{generation}-{player}"
    for generation in (1, 2)
    for player in ("dashjs", "hlsjs", "html5", "shaka", "videojs")
)

Event = dict[str, Any]

PLAY: Final = "playing"
STALL_STARTS: Final = ("stall_start", "stallstart")
STALL_ENDS: Final = ("stall_end", "stallend")
TOTAL_CARRIERS: Final = ("pause", "heartbeat", "quartile", "ended")
"""Events whose playing_time is a running total; in `playing` it is a position."""
VIEW_STARTS: Final = ("viewstart", "manifestload", "playerready")
"""Events after which a running total may restart."""


@dataclass(frozen=True, slots=True)
class CapturedRequest:
    """A recorded request; `status` is the collector's response at the time."""

    t: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    scenario: str

    @property
    def events(self) -> list[Event]:
        """The events of the body; none for a preflight."""
        return json.loads(self.body)["events"] if self.body else []


class ElementEvent(NamedTuple):
    """A DOM event of the media element; `position` in seconds."""

    at_ms: int
    name: str
    position: float


@dataclass(frozen=True, slots=True)
class ElementLog:
    """The events of a page's media element, from page load to `until_ms`, when its position was
    `final_position`.
    """

    scenario: str
    view_id: str
    events: tuple[ElementEvent, ...]
    until_ms: int
    final_position: float
    dropped_frames: int


@dataclass(frozen=True, slots=True)
class Capture:
    """One recording."""

    name: str
    t0: int
    requests: tuple[CapturedRequest, ...]
    notes: tuple[dict[str, Any], ...]

    @property
    def generation(self) -> int:
        """1 or 2."""
        return int(self.name[3])

    @property
    def player(self) -> str:
        """The player's name in the events."""
        return self.name.partition("-")[2]

    @property
    def posts(self) -> list[CapturedRequest]:
        """The requests that carry events."""
        return [request for request in self.requests if request.method == "POST"]

    def shifted(self, now_ms: int) -> list[CapturedRequest]:
        """The requests with all event times moved so that the last request is at `now_ms`. Equal
        bodies stay equal; nothing else changes.
        """
        offset = now_ms - (self.t0 + self.requests[-1].t)
        return [replace(request, body=_moved(request.body, offset)) for request in self.requests]

    def unique_events(self) -> list[Event]:
        """Every event once, ordered by event_time and then by arrival."""
        seen: set[str] = set()
        events: list[Event] = []
        for request in self.posts:
            for event in request.events:
                identity = json.dumps(
                    [
                        event.get(field)
                        for field in (
                            "view_id",
                            "event_type",
                            "event_time",
                            "playback_time",
                            "data",
                        )
                    ],
                    sort_keys=True,
                )
                if identity not in seen:
                    seen.add(identity)
                    events.append(event)
        return sorted(events, key=lambda event: event["event_time"])

    def element_logs(self) -> list[ElementLog]:
        """The logs of the media elements, one per page."""
        logs = []
        for number, note in enumerate(self.notes):
            if note["w"] != "truth":
                continue
            content = note["x"]
            view_id = content["st"]["view"]
            if view_id is None:  # after destroy(): use an earlier note of the page
                view_id = next(
                    earlier["x"]["view"]
                    for earlier in reversed(self.notes[:number])
                    if earlier["w"] == "state"
                )
            logs.append(
                ElementLog(
                    scenario=note["s"],
                    view_id=view_id,
                    events=tuple(
                        ElementEvent(at, name, position)
                        for at, name, position in content["truth"]
                        if name != "visibility"
                    ),
                    until_ms=self.t0 + note["t"],
                    final_position=content["st"]["t"],
                    dropped_frames=content["st"]["dropped"],
                )
            )
        return logs


@cache
def load(name: str) -> Capture:
    """The recording `name`, one of NAMES."""
    notes = json.loads((DIRECTORY / f"{name}.notes.json").read_text())
    lines = gzip.decompress((DIRECTORY / f"{name}.ndjson.gz").read_bytes()).decode().splitlines()
    requests = []
    for line in lines:
        fields = json.loads(line)
        fields["body"] = fields["body"].encode()
        requests.append(CapturedRequest(**fields))
    return Capture(name, notes["t0"], tuple(requests), tuple(notes["notes"]))


def _moved(body: bytes, offset: int) -> bytes:
    if not body:
        return body
    batch = json.loads(body)
    for event in batch["events"]:
        event["event_time"] += offset
        event["viewer_time"] += offset
    return json.dumps(batch, separators=(",", ":"), ensure_ascii=False).encode()


# --- the truth ------------------------------------------------------------------------------------


class ViewKey(NamedTuple):
    """The identity of a view, since the SDK keeps one view_id over several videos. Values that the
    events lack are empty strings.
    """

    view_id: str
    video_id: str
    player_name: str


@dataclass(frozen=True, slots=True)
class Reported:
    """The facts in the unique events of a view, or of all views."""

    events: int
    by_type: dict[str, int]
    started: int
    """1 if there was a play request."""
    viewstarts: int
    plays: int
    """`playing` events: play requests, except in second-generation dash.js, where they are DOM
    `playing`.
    """
    pauses: int
    """Every `pause`, that right before an `ended` included."""
    pauses_at_end: int
    """Those that are followed by an `ended`, or follow an error of html5, within 50 ms."""
    startups: int
    """1 if the start-up time is known."""
    startup_s: float
    """The first play's video_startup_time, or the first canplay's less the player's (second-
    generation html5, hls.js, dash.js).
    """
    quality_changes: int
    """Quality-change events that differ in bitrate or resolution from the one before (of the same
    medium); the first is no change.
    """
    stall_starts: int
    stall_ends: int
    stalls_closed: int
    """Stalls whose end is known: a stall end or, in second-generation dash.js, a `playing`."""
    stall_s: float
    """Length of all closed stalls together, start-up and seeks included."""
    rebuffers: int
    """Stall starts that belong neither to the start-up nor to a seek: nothing played yet; or a seek
    was under way when it began; or the position jumped, which shows a seek that was never finished
    and so never reported.
    """
    rebuffer_s: float
    """Length of the closed ones among them."""
    seeks: int
    errors: int
    quartiles: tuple[int, ...]
    """Distinct quartiles, in order; for all views together every view's, so with repetitions."""
    ended: int
    """1 if there was an `ended` (as a mark: a replay does not count again)."""
    playing_s: float
    """The running total of played time with its restarts added up."""
    dropped_frames: float
    """The same for dropped frames."""


@dataclass(frozen=True, slots=True)
class Element:
    """The facts in the DOM events of the media element, for a view or for all views."""

    plays: int
    playings: int
    pauses: int
    waitings: int
    rebuffers: int
    """`waiting` after the first frame and outside a seek; Shaka instead sets the rate to 0, which
    shows as a pair of `ratechange`.
    """
    rebuffer_s: float
    seeks: int
    errors: int
    ended: int
    playing_s: float
    """Media time played: from positions, and from the clock before a seek, whose start is not
    recorded.
    """
    dropped_frames: int
    """Of the element when the page was left."""


@dataclass(frozen=True, slots=True)
class ViewTruth:
    """Both sides of one view; `element` is None where no page log belongs to it."""

    key: ViewKey
    scenario: str
    reported: Reported
    element: Element | None


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth of a capture. `views` excludes events whose ids are "unknown"; `totals` includes
    them.
    """

    capture: str
    requests: int
    sent_events: int
    views: dict[ViewKey, ViewTruth]
    orphans: int
    """Events whose view_id is "unknown"."""
    totals: Reported
    element_totals: Element


def truth(capture: Capture) -> Truth:
    """Derive the truth of a capture."""
    by_view: dict[ViewKey, list[Event]] = {}
    for event in capture.unique_events():
        by_view.setdefault(view_key(event), []).append(event)
    scenarios = {
        view_key(event): request.scenario
        for request in reversed(capture.posts)
        for event in request.events
    }
    elements = _elements_by_view(capture, by_view)
    dashjs2 = capture.name == "sdk2-dashjs"
    every = {
        key: ViewTruth(
            key, scenarios[key], _reported(events, playing_ends_stall=dashjs2), elements.get(key)
        )
        for key, events in by_view.items()
    }
    views = {key: view for key, view in every.items() if key.view_id != "unknown"}
    return Truth(
        capture=capture.name,
        requests=len(capture.posts),
        sent_events=sum(len(request.events) for request in capture.posts),
        views=views,
        orphans=sum(
            view.reported.events for key, view in every.items() if key.view_id == "unknown"
        ),
        totals=_add_reported(view.reported for view in every.values()),
        element_totals=_add_elements(
            view.element for view in views.values() if view.element is not None
        ),
    )


def view_key(event: Event) -> ViewKey:
    """The view an event belongs to."""
    return ViewKey(
        event["view_id"],
        event.get("video", {}).get("id", ""),
        event.get("player", {}).get("name", ""),
    )


# --- from the events ------------------------------------------------------------------------------


class _Stall(NamedTuple):
    start: Event
    seconds: float | None
    real: bool


def _reported(events: list[Event], *, playing_ends_stall: bool) -> Reported:
    types = Counter(event["event_type"] for event in events)
    stalls = _stalls(events, playing_ends_stall)
    closed = [stall for stall in stalls if stall.seconds is not None]
    startup_ms = _startup_ms(events)
    return Reported(
        events=len(events),
        by_type=dict(sorted(types.items())),
        started=int(types[PLAY] > 0),
        viewstarts=types["viewstart"],
        plays=types[PLAY],
        pauses=types["pause"],
        pauses_at_end=_pauses_at_end(events),
        startups=int(startup_ms is not None),
        startup_s=(startup_ms or 0.0) / 1000,
        quality_changes=_quality_changes(events),
        stall_starts=sum(types[name] for name in STALL_STARTS),
        stall_ends=sum(types[name] for name in STALL_ENDS),
        stalls_closed=len(closed),
        stall_s=sum(stall.seconds or 0.0 for stall in stalls),
        rebuffers=sum(stall.real for stall in stalls),
        rebuffer_s=sum(stall.seconds or 0.0 for stall in stalls if stall.real),
        seeks=types["seek"],
        errors=types["error"],
        quartiles=tuple(
            sorted(
                {event["data"]["quartile"] for event in events if event["event_type"] == "quartile"}
            )
        ),
        ended=int(types["ended"] > 0),
        playing_s=_sum_with_restarts(events, "playing_time", TOTAL_CARRIERS) / 1000,
        dropped_frames=_sum_with_restarts(events, "dropped_frames", ("heartbeat",)),
    )


def _pauses_at_end(events: list[Event]) -> int:
    ends = [event["event_time"] for event in events if event["event_type"] == "ended"]
    failures = [
        event["event_time"]
        for event in events
        if event["event_type"] == "error" and event["player"]["name"] == "html5"
    ]
    return sum(
        event["event_type"] == "pause"
        and (
            any(0 <= end - event["event_time"] <= 50 for end in ends)
            or any(0 <= event["event_time"] - failed <= 50 for failed in failures)
        )
        for event in events
    )


def _startup_ms(events: list[Event]) -> float | None:
    """Of the first play only: the value grows with every resume."""
    first = {event["event_type"]: event.get("data", {}) for event in reversed(events)}
    if "canplay" not in first:
        startup: float | None = first.get(PLAY, {}).get("video_startup_time")
        return startup
    player = first.get("playerready", {}).get("player_startup_time")
    if player is None:
        return None
    since_player: float = first["canplay"]["video_startup_time"] - player
    return since_player if since_player >= 0 else None


def _quality_changes(events: list[Event]) -> int:
    last: dict[str, object] = {}
    changes = 0
    for event in events:
        if event["event_type"] != "qualitychange":
            continue
        data = event["data"]
        medium = data.get("media_type", "")
        state = (data.get("bitrate"), data.get("bitrate_kb"), data.get("resolution"))
        changes += medium in last and last[medium] != state
        last[medium] = state
    return changes


def _sum_with_restarts(events: list[Event], field: str, carriers: tuple[str, ...]) -> float:
    """The last value of a running total, plus the last value before each restart."""
    finished = highest = 0.0
    may_restart = False
    for event in events:
        if event["event_type"] in VIEW_STARTS:
            may_restart = True
        if event["event_type"] not in carriers:
            continue
        value = event.get("data", {}).get(field)
        if isinstance(value, dict):  # second-generation dash.js
            value = value["droppedFrames"]
        if value is None:
            continue
        if value < highest and may_restart:
            finished += highest
            highest = 0.0
        may_restart = False
        highest = max(highest, value)
    return finished + highest


def _stalls(events: list[Event], playing_ends_stall: bool) -> list[_Stall]:
    """Every stall with its length, if known, and whether it is a rebuffer."""
    stalls = []
    for number, event in enumerate(events):
        if event["event_type"] not in STALL_STARTS:
            continue
        after = events[number + 1 :]
        end = _stall_end(after, playing_ends_stall)
        seconds = None
        if end is not None:
            duration = end.get("data", {}).get("stall_duration")
            if duration is None:
                duration = end["event_time"] - event["event_time"]
            seconds = duration / 1000
        real = not (
            _before_first_progress(event, events[:number])
            or _within_seek(event, end, events)
            or _jumped(event, events[:number])
        )
        stalls.append(_Stall(event, seconds, real))
    return stalls


def _stall_end(after: list[Event], playing_ends_stall: bool) -> Event | None:
    """The event that ends a stall, before the next one starts."""
    enders = (*STALL_ENDS, PLAY) if playing_ends_stall else STALL_ENDS
    for event in after:
        if event["event_type"] in enders:
            return event
        if event["event_type"] in STALL_STARTS:
            return None
    return None


def _before_first_progress(stall: Event, before: list[Event]) -> bool:
    """Whether the stall precedes all playback."""
    played = any(
        event["event_type"] in TOTAL_CARRIERS and event.get("data", {}).get("playing_time")
        for event in before
    )
    moved = stall.get("playback_time", 0) >= 500
    return not played and not moved


def _within_seek(stall: Event, end: Event | None, events: list[Event]) -> bool:
    """Whether a seek to the position of the stall was in progress when the stall began. The SDK
    reports a seek when it is over, before or after the end of the stall. A seek that began later is
    the player's own attempt to leave a stall (video.js).
    """
    began = stall["event_time"]
    until = end["event_time"] if end is not None else began + 30_000
    position = stall.get("playback_time", 0)
    return any(
        event["event_type"] == "seek"
        and began - 50 <= event["event_time"] <= until + 250
        and event["event_time"] - event["data"]["seek_latency"] <= began + 50
        and abs(event["data"]["to"] - position) < 500
        for event in events
    )


def _jumped(stall: Event, before: list[Event]) -> bool:
    """Whether playback since the previous event, at up to twice the speed, could not have reached
    the position of the stall.
    """
    last = next((event for event in reversed(before) if "playback_time" in event), None)
    if last is None:
        return False
    way = stall["playback_time"] - last["playback_time"]
    clock = stall["event_time"] - last["event_time"]
    return not -500 <= way <= 2 * clock + 1000


# --- from the media element -----------------------------------------------------------------------


def _elements_by_view(
    capture: Capture, views: Mapping[ViewKey, list[Event]]
) -> dict[ViewKey, Element]:
    """Assign each page log to the views of its view_id; several views (a second video) are split at
    `loadstart`.
    """
    result = {}
    for log in capture.element_logs():
        keys = [key for key in views if key.view_id == log.view_id]
        parts = [log]
        if len(keys) > 1:
            parts = _split_at_loadstart(log)
        result.update({key: _element(part) for key, part in zip(keys, parts, strict=False)})
    return result


def _split_at_loadstart(log: ElementLog) -> list[ElementLog]:
    starts = [number for number, event in enumerate(log.events) if event.name == "loadstart"]
    cut = starts[-1]
    return [
        replace(
            log,
            events=log.events[:cut],
            until_ms=log.events[cut].at_ms,
            final_position=float("nan"),
            dropped_frames=0,
        ),
        replace(log, events=log.events[cut:]),
    ]


def _element(log: ElementLog) -> Element:
    names = Counter(event.name for event in log.events)
    rebuffers, rebuffer_s = _element_rebuffers(log)
    return Element(
        plays=names["play"],
        playings=names["playing"],
        pauses=names["pause"],
        waitings=names["waiting"],
        rebuffers=rebuffers,
        rebuffer_s=rebuffer_s,
        seeks=names["seeked"],
        errors=names["error"],
        ended=names["ended"],
        playing_s=_element_playing_s(log),
        dropped_frames=log.dropped_frames,
    )


def _element_rebuffers(log: ElementLog) -> tuple[int, float]:
    """Count and total length of the stalls after the first frame and outside seeks."""
    count, seconds = 0, 0.0
    started = seeking = False
    since: int | None = None
    for event, following in zip(log.events, [*log.events[1:], None], strict=True):
        if event.name == "seeking":
            seeking = True
        elif event.name in ("playing", "loadstart"):
            started = event.name == "playing"
            seeking = False
            if since is not None:
                seconds += (event.at_ms - since) / 1000
                since = None
        elif event.name == "waiting" and started and not seeking:
            count += 1
            since = event.at_ms
        elif event.name == "ratechange" and started and not seeking and following is not None:
            clock = (following.at_ms - event.at_ms) / 1000
            held = following.position - event.position < 0.1
            if following.name == "ratechange" and held and clock > 0.2:
                count += 1
                seconds += clock
    return count, seconds


def _element_playing_s(log: ElementLog) -> float:
    """Media time played: the advance of the position while `playing`, or of the clock where a seek
    hides the end position.
    """
    total = 0.0
    end = ElementEvent(log.until_ms, "until", log.final_position)
    playing_from: ElementEvent | None = None
    for event in (*log.events, end):
        if playing_from is not None:
            way = event.position - playing_from.position
            clock = (event.at_ms - playing_from.at_ms) / 1000
            hidden = event.name in ("seeking", "loadstart") or event.position != event.position
            total += clock if hidden else way
            playing_from = event
        if event.name == "playing":
            playing_from = event
        elif event.name in ("pause", "waiting", "seeking", "loadstart", "ended", "error"):
            playing_from = None
    return total


# --- sums -----------------------------------------------------------------------------------------


def _add_reported(parts: Iterable[Reported]) -> Reported:
    views = list(parts)
    by_type: Counter[str] = Counter()
    for view in views:
        by_type.update(view.by_type)
    return Reported(
        by_type=dict(sorted(by_type.items())),
        quartiles=tuple(sorted(quartile for view in views for quartile in view.quartiles)),
        **_sum_fields(Reported, views),
    )


def _add_elements(parts: Iterable[Element]) -> Element:
    return Element(**_sum_fields(Element, list(parts)))


def _sum_fields(kind: type[Reported | Element], parts: Sequence[Reported | Element]) -> Any:
    """The sum of each numeric field."""
    names = [one.name for one in fields(kind) if one.name not in ("by_type", "quartiles")]
    return {name: sum(getattr(part, name) for part in parts) for name in names}


# --- the table ------------------------------------------------------------------------------------


def table(capture: Capture) -> str:
    """The truth of a capture as a table, one view per line: reported / element."""
    found = truth(capture)
    rows = [("view", "scenario", *(title for title, _, _ in _COLUMNS), "quartiles")]
    for view in found.views.values():
        name = f"{view.key.view_id[:8]} {view.key.video_id or '-'}"
        rows.append(_row(name, view.scenario, view.reported, view.element))
    rows.append(_row("total", "", found.totals, found.element_totals))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    counts = f"{found.sent_events} events sent, {found.totals.events} unique"
    views = f"{len(found.views)} views, {found.orphans} orphans"
    return "\n".join([f"{found.capture}: {found.requests} POSTs, {counts}, {views}", *lines])


_COLUMNS: Final = (
    # title, field of Reported, field of Element
    ("events", "events", None),
    ("started", "started", None),
    ("plays", "plays", "plays"),
    ("pauses", "pauses", "pauses"),
    ("stalls", "stall_starts", "waitings"),
    ("ends", "stall_ends", None),
    ("stall_s", "stall_s", None),
    ("rebuffers", "rebuffers", "rebuffers"),
    ("rebuffer_s", "rebuffer_s", "rebuffer_s"),
    ("seeks", "seeks", "seeks"),
    ("errors", "errors", "errors"),
    ("ended", "ended", "ended"),
    ("playing_s", "playing_s", "playing_s"),
    ("dropped", "dropped_frames", "dropped_frames"),
    ("quality", "quality_changes", None),
    ("startup_s", "startup_s", None),
)


def _row(name: str, scenario: str, reported: Reported, element: Element | None) -> tuple[str, ...]:
    cells = [name, scenario]
    for _, ours, theirs in _COLUMNS:
        cell = f"{getattr(reported, ours):.6g}"
        if theirs is not None:
            cell += f"/{getattr(element, theirs):.6g}" if element is not None else "/-"
        cells.append(cell)
    repeated = Counter(reported.quartiles)
    cells.append(" ".join(f"{quartile}x{number}" for quartile, number in repeated.items()))
    return tuple(cells)


if __name__ == "__main__":
    for capture_name in NAMES:
        print(table(load(capture_name)), end="\n\n")
