"""Limits: the defaults, and the document that changes them."""

from typing import Any

import pytest

from openqoe.core.config.cardinality_limits import DEFAULT_LIMITS, Limit, parse_limits


def test_defaults() -> None:
    assert dict(DEFAULT_LIMITS) == {
        "org_id": Limit("allow", 1_000),
        "player_id": Limit("allow", 10_000),
        "env": Limit("allow", 10),
        "app_name": Limit("allow", 100),
        "app_version": Limit("allow", 500),
        "event_type": Limit("allow", 60),
        "device_category": Limit("allow", 10),
        "os_family": Limit("allow", 20),
        "browser_family": Limit("allow", 20),
        "player_name": Limit("allow", 20),
        "network_country": Limit("allow", 250),
        "content_type": Limit("allow", 5),
        "error_family": Limit("allow", 20),
        "error_code": Limit("allow", 200),
        "trigger": Limit("allow", 20),
        "video_id": Limit("bucket", 100_000, 10_000),
        "video_title": Limit("bucket", 100_000, 10_000),
        "network_region": Limit("bucket", 1_000, 100),
        "session_id": Limit("hash", None),
        "view_id": Limit("hash", None),
        "viewer_id": Limit("hash", None),
        "video_source_url": Limit("drop", None),
    }


@pytest.mark.parametrize(
    ("entry", "limit"),
    [
        ({}, Limit("bucket", 100_000, 10_000)),
        ({"max_cardinality": 7}, Limit("bucket", 7, 10_000)),
        ({"max_cardinality": 0}, Limit("bucket", 0, 10_000)),
        ({"max_cardinality": None}, Limit("bucket", None, 10_000)),
        ({"bucket_size": 7}, Limit("bucket", 100_000, 7)),
        ({"action": "allow", "max_cardinality": 7}, Limit("allow", 7, 10_000)),
        ({"action": "allow"}, Limit("allow", None, 10_000)),  # a new action, without a limit
        ({"action": "hash"}, Limit("hash", None, 10_000)),
        ({"action": "drop"}, Limit("drop", None, 10_000)),
        (
            {"max_cardinality": 100_000, "action": "bucket", "bucket_size": 5},
            Limit("bucket", 100_000, 5),
        ),
    ],
)
def test_an_entry_changes_what_it_names(entry: dict[str, Any], limit: Limit) -> None:
    for document in ({"limits": {"video_id": entry}}, {"video_id": entry}):
        limits = parse_limits(document)
        assert limits["video_id"] == limit
        assert {**limits, "video_id": 0} == {**DEFAULT_LIMITS, "video_id": 0}


@pytest.mark.parametrize("document", [{}, {"limits": {}}])
def test_nothing_changes_nothing(document: dict[str, Any]) -> None:
    assert parse_limits(document) == DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"limits": None}, '"limits" is not an object'),
        ({"limits": []}, '"limits" is not an object'),
        ({"vidoe_id": {}}, "'vidoe_id': no such dimension; there are org_id, "),
        ({"limits": {"env": 10}}, "'env': not an object"),
        ({"limits": {"env": None}}, "'env': not an object"),
        ({"env": {"max": 10}}, "'env': unknown member 'max'"),
        ({"env": {"action": "refuse"}}, "'env': action is not one of allow, bucket, hash, drop"),
        ({"env": {"action": None}}, "'env': action is not one of"),
        ({"env": {"action": ["allow"]}}, "'env': action is not one of"),
        ({"env": {"max_cardinality": -1}}, "'env': max_cardinality is not a whole number of at"),
        ({"env": {"max_cardinality": "9"}}, "'env': max_cardinality is not a whole number"),
        ({"env": {"max_cardinality": 1.5}}, "'env': max_cardinality is not a whole number"),
        ({"env": {"max_cardinality": True}}, "'env': max_cardinality is not a whole number"),
        ({"env": {"bucket_size": 0}}, "'env': bucket_size is not a whole number of at least 1"),
        ({"env": {"bucket_size": []}}, "'env': bucket_size is not a whole number"),
    ],
)
def test_a_fault_is_named_with_its_place(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_limits(document)
    assert words in str(caught.value)


def test_limits_cannot_be_changed_by_accident() -> None:
    with pytest.raises(TypeError):
        parse_limits({})["env"] = Limit("drop")  # type: ignore[index]
