"""Recorded CMCD version 2 of three players (`tests/captures/cmcd2-*`), and its truth.

    for page in pages("cmcd2-hlsjs"):
        page.posts, page.truth.rebuffer_s

A page is one playback. Its truth comes from the events of the media element; this code shares
nothing with the worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

from tests.support.captures import CapturedRequest, load

NAMES: Final = ("cmcd2-dashjs", "cmcd2-hlsjs", "cmcd2-shaka")

_TIME = re.compile(rb"\b(ts=)(\d{13})\b")
_SESSION = re.compile(rb'\bsid="([^"]*)"')

_STOPS: Final = frozenset({"pause", "waiting", "seeking", "ended", "error", "loadstart"})


def posts(name: str) -> list[CapturedRequest]:
    """The requests with records, in order of arrival."""
    return [request for request in load(name).requests if request.method == "POST"]


def records(name: str) -> list[str]:
    """All records as sent, repeated ones included."""
    return [line for post in posts(name) for line in post.body.decode().split("\n") if line]


def shifted(body: bytes, ms: int) -> bytes:
    """A body whose records happen later."""
    return _TIME.sub(lambda found: found[1] + b"%d" % (int(found[2]) + ms), body)


def times_of(body: bytes) -> list[int]:
    """The times of its records."""
    return [int(found[2]) for found in _TIME.finditer(body)]


class Stall(NamedTuple):
    """A stall of the media element."""

    cause: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ElementTruth:
    """What a media element did until the time of its page's last record.

    Attributes:
        startup_s: From the play request to the first frame; None without a frame.
        stalls: Stalls in order; the last may be open.
        playing_s: Time in which the picture moved, by the clock.
        media_s: Media time played: the same times the playback rate.
        pauses: Pauses of a playing picture, without that at the end.
        seeks: Seeks before a failure.
        ended: Whether the end was reached.
        failed: Whether it failed.
    """

    startup_s: float | None
    stalls: tuple[Stall, ...]
    playing_s: float
    media_s: float
    pauses: int
    seeks: int
    ended: bool
    failed: bool

    @property
    def rebuffer_s(self) -> float:
        """Seconds of rebuffering."""
        return self.seconds("rebuffer")

    def seconds(self, cause: str) -> float:
        """Seconds of the stalls of a cause."""
        return sum(stall.seconds for stall in self.stalls if stall.cause == cause)

    def count(self, cause: str) -> int:
        """Stalls of a cause."""
        return sum(stall.cause == cause for stall in self.stalls)


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One playback of a recording.

    Attributes:
        recording, scenario: Where it is from.
        number: Its number in the scenario, from 0 on.
        session: The session id of its records; "" if they have none.
        posts: The requests with its records.
        truth: What its media element did.
    """

    recording: str
    scenario: str
    number: int
    session: str
    posts: tuple[CapturedRequest, ...]
    truth: ElementTruth

    @property
    def player(self) -> str:
        """Name of the player."""
        return self.recording.partition("-")[2]

    @property
    def accepted(self) -> tuple[CapturedRequest, ...]:
        """The requests that the collector did not refuse at the time."""
        return tuple(post for post in self.posts if post.status < 300)

    @property
    def name(self) -> str:
        """A name for tests and tables."""
        return f"{self.player} {self.scenario}" + (f" {self.number + 1}" if self.number else "")


@cache
def pages(recording: str) -> tuple[Page, ...]:
    """The playbacks of a recording, in order."""
    capture = load(recording)
    by_scenario: dict[str, list[list[CapturedRequest]]] = {}
    last: dict[str, str] = {}
    for post in posts(recording):
        found = _SESSION.search(post.body)
        session = "" if found is None else found[1].decode()
        groups = by_scenario.setdefault(post.scenario, [])
        if last.get(post.scenario) != session:
            known = [one for one in groups if session and session.encode() in one[0].body]
            if not known:
                groups.append([])
            last[post.scenario] = session
        groups[-1].append(post)
    numbers: dict[str, int] = {}
    found_pages = []
    for note in capture.notes:
        if note["w"] != "truth":
            continue
        scenario = note["s"]
        number = numbers.get(scenario, 0)
        numbers[scenario] = number + 1
        own = by_scenario.get(scenario, [])
        if number >= len(own):
            continue
        until = max(time for post in own[number] for time in times_of(post.body))
        session_of = _SESSION.search(own[number][0].body)
        found_pages.append(
            Page(
                recording,
                scenario,
                number,
                "" if session_of is None else session_of[1].decode(),
                tuple(own[number]),
                _truth(note["x"]["truth"], until),
            )
        )
    return tuple(found_pages)


def all_pages() -> list[Page]:
    """The playbacks of all recordings."""
    return [page for name in NAMES for page in pages(name)]


def _truth(events: Iterable[Any], until: int) -> ElementTruth:
    """The truth from events as (time, name, position or, of Shaka's stalls, the rate)."""
    log = [(at, name) for at, name, _ in events if at <= until]
    ends = {at for at, name in log if name == "ended"}
    startup: float | None = None
    play_at: int | None = None
    waiting_at: int | None = None
    moving_since: int | None = None
    seeking = failed = False
    rate = 1.0
    rates = _rates(log)
    stalls: list[Stall] = []
    playing = media = 0.0
    pauses = seeks = 0
    for number, (at, name) in enumerate([*log, (until, "until")]):
        if moving_since is not None and (name in _STOPS or name in ("ratechange", "until")):
            playing += at - moving_since
            media += (at - moving_since) * rate
            moving_since = at if name == "ratechange" else None
            pauses += name == "pause" and at not in ends
        if name == "ratechange":
            rate = rates.get(number, rate)
        if name == "play" and play_at is None:
            play_at = at
        elif name == "seeking":
            seeks += not seeking and not failed and startup is not None
            seeking = True
        elif name == "waiting":
            waiting_at = at
        elif name in ("playing", "error", "until"):
            if waiting_at is not None and startup is not None:
                stalls.append(Stall("seek" if seeking else "rebuffer", (at - waiting_at) / 1000))
            if name == "playing":
                if startup is None and play_at is not None:
                    startup = (at - play_at) / 1000
                moving_since = at
            failed = failed or name == "error"
            waiting_at, seeking = None, False
        elif name == "loadstart":
            waiting_at, seeking = None, False
    return ElementTruth(
        startup, tuple(stalls), playing / 1000, media / 1000, pauses, seeks, bool(ends), failed
    )


def _rates(log: list[tuple[int, str]]) -> dict[int, float]:
    """The rate after each change: the driver switched to 1.5 and back, once a page."""
    changes = [number for number, (_, name) in enumerate(log) if name == "ratechange"]
    return {number: 1.5 if place % 2 == 0 else 1.0 for place, number in enumerate(changes)}
