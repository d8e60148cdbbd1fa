"""Dropping and hashing of members of events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.privacy.event_fields import EventFields

SECRET = b"of the service"


def apply(
    event: Any, drop: tuple[str, ...] = (), hash: tuple[str, ...] = (), org: str = "acme"
) -> Any:
    fields = EventFields(drop, hash, SECRET)
    return json.loads(fields.apply(json.dumps(event, separators=(",", ":")).encode(), org))


@pytest.mark.parametrize(
    ("event", "paths", "expected"),
    [
        ({"a": 1, "b": 2}, ("a",), {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, ("a.b",), {"a": {"c": 2}}),
        ({"a": {"b": {"c": 1}}}, ("a.b.c", "a.x"), {"a": {"b": {}}}),
        ({"a": [{"b": 1}, {"c": 2}, 3]}, ("a.b",), {"a": [{}, {"c": 2}, 3]}),
        ({"a": "text"}, ("a.b",), {"a": "text"}),
        ({"a": None}, ("a.b",), {"a": None}),
        ({"a": {"b": 1}}, ("a", "a.b"), {}),
        ({"a": {"b": 1}}, ("a.b", "a"), {}),
        ({"b": {"a": 1}}, ("a",), {"b": {"a": 1}}),
        ({}, ("a",), {}),
    ],
)
def test_members_at_the_paths_are_dropped(
    event: Any, paths: tuple[str, ...], expected: Any
) -> None:
    assert apply(event, drop=paths) == expected


def test_hash_is_keyed_stable_and_differs_by_organisation() -> None:
    first = apply({"viewer_id": "v"}, hash=("viewer_id",))["viewer_id"]
    assert len(first) == 32
    assert first == apply({"viewer_id": "v"}, hash=("viewer_id",))["viewer_id"]
    assert first == EventFields((), (), SECRET).hash("v", "acme")
    assert first != apply({"viewer_id": "w"}, hash=("viewer_id",))["viewer_id"]
    assert first != apply({"viewer_id": "v"}, hash=("viewer_id",), org="rival")["viewer_id"]
    assert first != EventFields((), (), b"other").hash("v", "acme")


def test_numbers_and_objects_are_hashed_and_null_stays() -> None:
    event = {"a": 17, "b": {"x": 1}, "c": None, "d": "17"}
    hashed = apply(event, hash=("a", "b", "c", "d"))
    assert hashed["c"] is None
    assert hashed["a"] == hashed["d"] != hashed["b"]
    assert all(len(hashed[name]) == 32 for name in "abd")


def test_other_members_keep_their_bytes() -> None:
    fields = EventFields(("x.y",), (), SECRET)
    line = b'{"n":1.50e3,"s":"\\u0041","x":{"z":[1.0, 2],"y":1},"b":12345678901234567890}'
    expected = b'{"n":1.50e3,"s":"\\u0041","x":{"z":[1.0, 2]},"b":12345678901234567890}'
    assert fields.apply(line, "acme") == expected
    untouched = b'{"n":1.50e3,"x":{"z":1}}'
    assert fields.apply(untouched, "acme") is untouched


def test_escaped_and_repeated_names_are_found() -> None:
    fields = EventFields(("ip",), ("viewer_id",), SECRET)
    line = b'{"\\u0069p":"1.2.3.4","viewer_id":"one","ip":"5.6.7.8","viewer_id":"two"}'
    assert fields.concern(line)
    applied = fields.apply(line, "acme")
    for secret in (b"1.2.3.4", b"5.6.7.8", b"one", b"two"):
        assert secret not in applied
    assert json.loads(applied) == {"viewer_id": fields.hash("two", "acme")}


@given(st.dictionaries(st.sampled_from(["ip", "a", "b"]), st.text() | st.none()))
def test_body_that_holds_a_member_concerns_the_rules(event: dict[str, str | None]) -> None:
    fields = EventFields(("ip",), (), SECRET)
    if "ip" in event:
        assert fields.concern(json.dumps(event).encode())


def test_no_rules_concern_nothing() -> None:
    assert not EventFields((), (), SECRET).concern(b'{"ip":"\\u0041"}')
