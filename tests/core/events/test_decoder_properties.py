"""Properties of the decoder: any body gives a batch or one of its two errors."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.config.worker_config import Config
from openqoe.core.events.decoder import BatchDecoder, DecodedBatch
from openqoe.core.events.faults import NotJsonError, WrongShapeError
from tests.support.event_builders import NOW, batch, event

DECODER = BatchDecoder(Config())

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**320)
    | st.floats()
    | st.text(st.characters(), max_size=8)  # lone surrogates too
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
WHOLE = event(
    data={
        "bitrate": 1,
        "resolution": {"width": 1, "height": 2},
        "dropped_frames": {"droppedFrames": 1},
        "old": {"bitrate_kb": 1, "resolution": {"width": 1}},
        "error_context": {"error_details": "x"},
    },
    cmcd={"st": "v"},
)


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every member of an object at any depth."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, name)
            yield from paths(member, (*path, name))


def decode_and_check(body: bytes) -> DecodedBatch | None:
    """Decode a body and check the invariants of a batch; None if it raises one of the errors."""
    try:
        decoded = DECODER.decode(body, NOW)
    except (NotJsonError, WrongShapeError):
        return None
    faulty = {fault.index for fault in decoded.faults}
    assert len(decoded.events) + len(faulty) == decoded.event_count
    assert faulty <= set(range(decoded.event_count))
    for good, line in decoded.events:
        assert NOW - 24 * 3_600_000 <= good.event_time <= NOW + 300_000
        assert json.loads(line)["view_id"] == good.view_id
        line.decode()
        msgspec.json.encode(good)  # raises for a lone surrogate
    return decoded


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_give_a_batch_or_an_error(body: bytes) -> None:
    decode_and_check(body)


@given(DOCUMENTS)
@settings(max_examples=150)
def test_any_json_gives_a_batch_or_an_error(document: Any) -> None:
    decode_and_check(encoded(document))


@given(st.lists(DOCUMENTS, max_size=4))
@settings(max_examples=150)
def test_good_event_survives_any_json_beside_it(others: list[Any]) -> None:
    decoded = decode_and_check(encoded({"events": [*others, event()]}))
    assert decoded is not None
    assert decoded.event_count == len(others) + 1
    assert len(decoded.events) == 1


@given(st.lists(st.tuples(st.sampled_from(list(paths(WHOLE))), DOCUMENTS), min_size=1, max_size=3))
@settings(max_examples=300)
def test_good_event_survives_any_value_in_a_neighbour(
    changes: list[tuple[tuple[str, ...], Any]],
) -> None:
    odd: Any = copy.deepcopy(WHOLE)
    for path, value in changes:
        holder = odd
        for name in path[:-1]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder[path[-1]] = value
    decoded = decode_and_check(encoded({"events": [odd, event(view_id="good")]}))
    assert decoded is not None
    assert decoded.event_count == 2
    assert decoded.events[-1][0].view_id == "good"


@given(st.data())
@settings(max_examples=200)
def test_overwritten_batch_gives_a_batch_or_an_error(data: st.DataObject) -> None:
    body = bytearray(batch(event(), event("error"), event("ended")))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(body) - 1))
        end = min(len(body), start + data.draw(st.integers(0, 20)))
        body[start:end] = data.draw(st.binary(max_size=10))
    decode_and_check(bytes(body))


@given(st.sets(st.integers(0, 9)), st.sampled_from([None, 7, {}, "x", [], {"event_type": "y"}]))
@settings(max_examples=50)
def test_every_event_is_accepted_or_faulty(bad: set[int], element: Any) -> None:
    events = [element if i in bad else event(view_id=f"view-{i}") for i in range(10)]
    decoded = decode_and_check(batch(*events))
    assert decoded is not None
    assert {fault.index for fault in decoded.faults} == bad
    assert [good.view_id for good, _ in decoded.events] == [
        f"view-{i}" for i in range(10) if i not in bad
    ]
