"""Recorded CMCD version 2 of three players (`tests/captures/cmcd2-*`), and its truth.

    for post in posts("cmcd2-hlsjs"):
        ...
    element_truth("cmcd2-hlsjs", "full").stalls

The truth comes from the events of the media element. This code shares nothing with the worker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from tests.support.captures import CapturedRequest, load

NAMES: Final = ("cmcd2-dashjs", "cmcd2-hlsjs", "cmcd2-shaka")

_TIME = re.compile(rb"\b(ts=)(\d{13})\b")


def posts(name: str) -> list[CapturedRequest]:
    """The requests with records, in order of arrival."""
    return [request for request in load(name).requests if request.method == "POST"]


def records(name: str) -> list[str]:
    """All records as sent, repeated ones included."""
    return [line for post in posts(name) for line in post.body.decode().split("\n") if line]


def shifted(body: bytes, ms: int) -> bytes:
    """A body whose records happen later."""
    return _TIME.sub(lambda found: found[1] + b"%d" % (int(found[2]) + ms), body)


class Stall(NamedTuple):
    """A stall of the media element; a seek's waiting is one of cause "seek"."""

    cause: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ElementTruth:
    """What the media element of one page did.

    Attributes:
        startup_s: From the play request to the first frame; None without a frame.
        stalls: Stalls that ended, in order.
        playing_s: Time in which the picture moved, by the clock.
        pauses: Pauses, without that at the end.
        seeks: Seeks that ended.
    """

    startup_s: float | None
    stalls: tuple[Stall, ...]
    playing_s: float
    pauses: int
    seeks: int

    @property
    def rebuffer_s(self) -> float:
        """Seconds of rebuffering."""
        return sum(stall.seconds for stall in self.stalls if stall.cause == "rebuffer")


@cache
def element_truth(name: str, scenario: str, page: int = 0) -> ElementTruth:
    """The truth of one page of a scenario, from the events of its media element."""
    capture = load(name)
    notes = [note for note in capture.notes if note["w"] == "truth" and note["s"] == scenario]
    note = notes[page]
    until = capture.t0 + note["t"]
    startup: float | None = None
    play_at: int | None = None
    waiting_at: int | None = None
    playing_at: int | None = None
    seeking = False
    stalls: list[Stall] = []
    playing_ms = pauses = seeks = 0
    for at, event, _ in [*note["x"]["truth"], (until, "until", 0)]:
        if playing_at is not None and event in (
            *("pause", "waiting", "seeking", "ended", "error", "loadstart", "until"),
        ):
            playing_ms += at - playing_at
            playing_at = None
            pauses += event == "pause" and at != _end(note)
        if event == "play" and play_at is None:
            play_at = at
        elif event == "seeking":
            seeking = True
        elif event == "waiting":
            waiting_at = at
        elif event == "error":
            if waiting_at is not None:
                stalls.append(Stall("seek" if seeking else "rebuffer", (at - waiting_at) / 1000))
            waiting_at, seeking = None, False
        elif event == "loadstart":
            waiting_at, seeking = None, False
        elif event == "playing":
            if waiting_at is not None and startup is not None:
                stalls.append(Stall("seek" if seeking else "rebuffer", (at - waiting_at) / 1000))
            if startup is None and play_at is not None:
                startup = (at - play_at) / 1000
            waiting_at, seeking, playing_at = None, False, at
        seeks += event == "seeked"
    return ElementTruth(startup, tuple(stalls), playing_ms / 1000, pauses, seeks)


def _end(note: dict) -> int | None:  # type: ignore[type-arg]
    return next((at for at, event, _ in note["x"]["truth"] if event == "ended"), None)
