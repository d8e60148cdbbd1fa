"""Cost of hostile bodies: 20 MiB of any content is decoded within bounds of time and memory.

Each body is decoded in a process of its own, to measure its peak of memory. The bounds are
generous, for slow machines. To print the measurements:

    python -c "from tests.core.events.test_hostile_bodies import main; main()"
"""

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.events.decoder import BatchDecoder
from openqoe.core.events.faults import Fault, NotCmcdError, NotJsonError, WrongShapeError
from tests.support.event_builders import NOW, event

MIB = 1024 * 1024
SELF = "tests.core.events.test_hostile_bodies"
MAX_SECONDS = 2.0
MAX_MIB = 250

ODD = json.dumps(event(playback_time="wrong")).encode()[:-1]
FINE = json.dumps(event()).encode()[:-1]
DEEP = b"[" * 5_000 + b"]" * 5_000


def filled(head: bytes, filler: bytes, tail: bytes, size: int = 20 * MIB) -> bytes:
    """Return text of the size, mostly filler."""
    return head + filler * ((size - len(head) - len(tail)) // len(filler)) + tail


def one(filler: bytes, tail: bytes, head: bytes = b"", size: int = 20 * MIB) -> bytes:
    """Return a batch of one event with a big last member."""
    return filled(b'{"events":[%s,"z":%s' % (FINE, head), filler, tail + b"}]}", size)


def twenty(event: bytes, filler: bytes, tail: bytes) -> bytes:
    """Return a batch of 20 events just below the limit of size."""
    big = filled(event, filler, tail + b"}", MIB - 20)
    return b'{"events":[' + b",".join([big] * 20) + b"]}"


def cmcd(filler: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
    """Return as many records as a body may have, as large as they may be."""
    record = filled(head, filler, tail, 8 * 1024 - 8)
    return b"CMCD/2 {}\n" + b"\n".join([record] * 1000)


BODIES: dict[str, Callable[[], bytes]] = {
    # Too many events
    "zeros": lambda: filled(b'{"events":[', b"0,", b"0]}"),
    "empty lists": lambda: filled(b'{"events":[', b"[],", b"0]}"),
    "empty objects": lambda: filled(b'{"events":[', b"{},", b"0]}"),
    "NaN": lambda: filled(b'{"events":[', b"NaN,", b"0]}"),
    "some NaN": lambda: filled(b'{"events":[', b"NaN,", b"0]}", 4 * MIB),
    "zeros, still small": lambda: filled(b'{"events":[', b"0,", b"0]}", MIB),
    "NaN, still small": lambda: filled(b'{"events":[', b"NaN,", b"0]}", MIB),
    "lists of events, still small": lambda: filled(b"{", b'"events":[0],', b'"events":[]}', MIB),
    # Too large an event
    "escapes and a lone surrogate": lambda: one(rb"\n", b'"', rb'"\ud83d'),
    "some escapes and a lone surrogate": lambda: one(rb"\n", b'"', rb'"\ud83d', 4 * MIB),
    "some lone surrogates": lambda: one(rb"\ud83d", b'"', b'"', 4 * MIB),
    "some pairs and a lone surrogate": lambda: one(rb"\ud83d\ude00", rb'\ud83d"', b'"', 4 * MIB),
    "some strings and NaN": lambda: one(b'"",', b"NaN]", b"[", 4 * MIB),
    "wrong field and lists": lambda: filled(b'{"events":[%s,"z":[' % ODD, b"[],", b"0]}]}"),
    "huge string": lambda: one(b"x", b'"', b'"'),
    "huge string with a wide character": lambda: one(b"x", '😀"'.encode(), b'"'),
    "huge key": lambda: one(b"x", b'":0}', b'{"'),
    "digits": lambda: filled(b'{"events":[', b"1", b"]}"),
    "digits of a time": lambda: filled(b'{"events":[{"event_time":', b"1", b"}]}"),
    # As large as events may be
    "large good events": lambda: twenty(FINE + b',"z":[', b"[],", b"0]"),
    "large events with a wrong field": lambda: twenty(ODD + b',"z":[', b"[],", b"0]"),
    "large events with wrong data": lambda: twenty(
        FINE + b',"data":{"old":{"bitrate_kb":"?","z":[', b"[],", b"0]}}"
    ),
    "large events of wrong data": lambda: twenty(FINE + b',"data":{"to":[', b"[],", b"0]}"),
    "large events with many wrong fields": lambda: twenty(FINE, b',"env":[]', b""),
    "large times": lambda: twenty(FINE + b',"event_time":', b"1", b""),
    "large ids": lambda: twenty(ODD + b',"org_id":"', rb"\u0041", b'"'),
    "large texts": lambda: twenty(ODD + b',"env":"', b"\xf0\x9f\x98\x80", b'"'),
    "large numbers": lambda: twenty(FINE + b',"video":{"id":', b"1", b".5}"),
    # Nesting
    "nested": lambda: filled(b"", b"[", b""),
    "nested events": lambda: filled(b'{"events":[', b"[", b""),
    "nested objects": lambda: filled(b'{"events":[', b'{"a":', b""),
    "nested at the end": lambda: one(b"[],", DEEP + b"]", b"["),
    "some nested and lists": lambda: one(b"[],", DEEP + b"]", b"[", 4 * MIB),
    "some nested and escapes": lambda: one(rb"\n", b'",' + DEEP + b"]", b'["', 4 * MIB),
    # CMCD
    "records": lambda: cmcd(b"e=t,"),
    "records of commas": lambda: cmcd(b","),
    "records of lists": lambda: cmcd(b"1 ", b"a=(", b")"),
    "records of parameters": lambda: cmcd(b";a", b"a=(1", b")"),
    "records of parameters of members": lambda: cmcd(b";a", b"a=1"),
    "records of quotes": lambda: cmcd(b'"'),
    "records of open parentheses": lambda: cmcd(b"("),
    "records of open lists": lambda: cmcd(b"a=("),
    "records of escapes": lambda: cmcd(b"\\\\", b'a="', b'"'),
    "records of unknown keys": lambda: cmcd(b"a,b,c,d,"),
    "large record": lambda: filled(b"CMCD/2 {}\n", b"e=t,", b""),
    "blank records": lambda: filled(b"CMCD/2 {}\n", b"\n", b""),
    "blank record": lambda: filled(b"CMCD/2 {}\n", b" ", b""),
    "large target": lambda: filled(b"CMCD/2 ", b"[", b""),
    # Not a batch
    "nothing": lambda: b" " * 20 * MIB,
    "white space": lambda: filled(b'{"events":[', b"\n", b"]}"),
    "backslashes": lambda: b"\\" * 20 * MIB,
    "some backslashes": lambda: b"\\" * 4 * MIB,
    "string of backslashes": lambda: filled(b'{"events":["', b"\\\\", b'"]}'),
    "some backslashes and a lone surrogate": lambda: one(b"\\\\", rb'\ud83d"', b'"', 4 * MIB),
    "quotes": lambda: b'"' * 20 * MIB,
    "some quotes": lambda: filled(b"NaN", b'"', b"", 4 * MIB),
    "many members": lambda: filled(b"{", b'"a":0,', b'"events":[]}'),
    "many lists of events": lambda: filled(b"{", b'"events":[],', b'"events":[]}'),
    "other list": lambda: filled(b"[", b"0,", b"0]"),
    "zero bytes": lambda: b"\0" * 20 * MIB,
    "bytes of no encoding": lambda: b"\xff" * 20 * MIB,
}


def measure(name: str) -> tuple[float, float, str]:
    """Return seconds of CPU, MiB beyond the body, and the result of the decoder."""
    with CONTEXT.Pool(1) as process:
        return process.apply(decoded, (name,))


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([SELF])


def peak() -> float:
    """Return the peak memory of the process in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def decoded(name: str) -> tuple[float, float, str]:
    decoder = BatchDecoder(Config())
    before = peak()
    body = BODIES[name]()
    begin = time.process_time()
    try:
        batch = decoder.decode(body, NOW)
        reasons = ",".join(sorted({fault.reason for fault in batch.faults}))
        outcome = f"{len(batch.events)} accepted {reasons}"
    except (NotJsonError, NotCmcdError, WrongShapeError) as error:
        outcome = f"{type(error).__name__} {error}"
    seconds = time.process_time() - begin
    return seconds, peak() - before - len(body) / MIB, outcome


@pytest.mark.parametrize("name", BODIES)
def test_large_body_is_within_bounds_of_time_and_memory(name: str) -> None:
    seconds, mib, outcome = measure(name)
    assert seconds < MAX_SECONDS, outcome
    assert mib < MAX_MIB, outcome


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("filler", [b'"x"', b"[]", b"NaN,1234567890", rb'"\ud83d"'])
def test_good_events_survive_an_event_above_the_limit(filler: bytes, place: int) -> None:
    elements = [FINE + b"}", FINE + b"}"]
    elements.insert(place, filled(FINE + b',"z":[', filler + b",", b"0]}", MIB + 100))
    batch = BatchDecoder(Config()).decode(b'{"events":[' + b",".join(elements) + b"]}", NOW)
    assert batch.event_count == 3
    assert len(batch.events) == 2
    assert batch.faults == (Fault(place, "", f"is larger than {MIB} bytes", "too_large"),)


def test_limit_of_event_size_is_a_setting() -> None:
    body = b'{"events":[%s,"z":"%s"},%s}]}' % (FINE, b"x" * 1024, FINE)
    (fault,) = BatchDecoder(Config(max_event_bytes=1024)).decode(body, NOW).faults
    assert (fault.index, fault.reason) == (0, "too_large")
    assert len(BatchDecoder(Config()).decode(body, NOW).events) == 2


def test_error_of_a_large_body_counts_up_to_1002_events() -> None:
    big = FINE + b',"z":"' + b"x" * 100_000 + b'"}'
    for others, message in ((999, None), (1000, "not 1001"), (1001, "not 1002 or more")):
        body = b'{"events":[' + b",".join([big, *[FINE + b"}"] * others]) + b"]}"
        if message is None:
            assert len(BatchDecoder(Config()).decode(body, NOW).events) == 1000
        else:
            with pytest.raises(WrongShapeError, match=f"{message}$"):
                BatchDecoder(Config()).decode(body, NOW)


@pytest.mark.parametrize(
    ("bad", "good"),
    [(b"NaN", b"null"), (rb'"\ud83d"', rb'"\ufffd"')],
    ids=["NaN", "lone surrogate"],
)
def test_body_of_moderate_size_is_sanitized(bad: bytes, good: bytes) -> None:
    piece = FINE + b',"z":"' + b"x" * 900_000 + b'","y":%s}'
    body = b'{"events":[' + b",".join([piece % bad] * 4) + b"]}"
    lines = [line for _, line in BatchDecoder(Config()).decode(body, NOW).events]
    assert len(lines) == 4
    assert all(line.endswith(b'"y":' + good + b"}") for line in lines)


@pytest.mark.parametrize("size", [MIB - 1000, MIB, MIB + 1000])
def test_events_are_compacted_for_any_size_of_body(size: int) -> None:
    body = filled(b'{"events":[%s , "y" : [' % FINE, b"NaN , ", b'0 ] } , {} , {"a":"', size // 2)
    body = filled(body, b"x", b'"}]}', size)
    batch = BatchDecoder(Config()).decode(body, NOW)
    assert batch.event_count == 3
    ((_, line),) = batch.events
    assert b'"y":[null,null,' in line
    assert line.endswith(b"null,0]}")


def test_large_body_of_the_wrong_shape_has_the_fault_of_a_small_one() -> None:
    spaces = b" " * 2 * MIB
    for body in (b"[]", b"{}", b'{"events":{}}', b'{"events":null}', b'{"events":"x"}'):
        faults = []
        for sent in (body, body + spaces):
            with pytest.raises(WrongShapeError) as caught:
                BatchDecoder(Config()).decode(sent, NOW)
            faults.append(caught.value.fault)
        assert faults[0] == faults[1]


def main() -> None:
    for name in BODIES:
        seconds, mib, outcome = measure(name)
        print(f"{name:40} {seconds * 1000:5.0f} ms {mib:5.0f} MiB  {outcome[:70].rstrip()}")
