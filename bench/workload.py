"""Batches for the benchmarks: real recorded events, made distinct, as of now."""

import json
import time
from collections.abc import Iterable, Iterator

import msgspec
import snappy

from openqoe.core.events.event_types import Event
from tests.support import captures

CAPTURES = ("sdk1-hlsjs", "sdk2-hlsjs", "sdk1-html5", "sdk2-dashjs")


def events() -> list[dict[str, object]]:
    """The recorded events of three players and both SDK generations; none is there twice."""
    now = int(time.time() * 1000)
    recorded = [
        json.dumps(event)
        for name in CAPTURES
        for request in captures.load(name).shifted(now)
        if request.method == "POST"
        for event in json.loads(request.body)["events"]
    ]
    return [json.loads(event) for event in dict.fromkeys(recorded)]


EVENTS_PER_VIEW = 30


def bodies(size: int, count: int) -> Iterator[bytes]:
    """Batches of ``size`` events; no two are equal.

    As from real players: successive events are of one view, and a view has 30 of them.
    """
    pieces = []
    for event in events():
        text = json.dumps(event, separators=(",", ":"))
        pieces.append(text.split(json.dumps(event["view_id"]), 1))
    number = 0
    for _ in range(count):
        parts = []
        for _ in range(size):
            head, tail = pieces[number % len(pieces)]
            parts.append(f'{head}"view-{number // EVENTS_PER_VIEW}"{tail}')
            number += 1
        yield ('{"events":[' + ",".join(parts) + "]}").encode()


class _Batch(msgspec.Struct):
    events: list[Event]


_decode = msgspec.json.Decoder(_Batch).decode


def floor(bodies: Iterable[bytes]) -> None:
    """What no implementation can do without: typed decode, and snappy of the same bytes."""
    for body in bodies:
        _decode(body)
        snappy.compress(body)
