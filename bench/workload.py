"""Batches for the benchmarks: recorded events with distinct view ids and current times."""

import json
import time
from collections.abc import Iterable, Iterator

import msgspec
import snappy

from openqoe.core.events.event_types import Event
from tests.support import captures

CAPTURES = ("sdk1-hlsjs", "sdk2-hlsjs", "sdk1-html5", "sdk2-dashjs")


def events() -> list[dict[str, object]]:
    """The distinct recorded events of three players and both SDK generations."""
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
    """Distinct batches of ``size`` events. Successive events belong to one view of 30 events."""
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
    """The minimum for any implementation: typed decoding and snappy compression."""
    for body in bodies:
        _decode(body)
        snappy.compress(body)
