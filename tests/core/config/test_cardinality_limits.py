"""Cardinality limits: the defaults, and a document that overrides them."""

from typing import Any

import pytest

from openqoe.core.config.cardinality_limits import (
    DEFAULT_LIMITS,
    CardinalityLimit,
    parse_cardinality_limits,
)


def test_default_limits() -> None:
    assert dict(DEFAULT_LIMITS) == {
        "org_id": CardinalityLimit("allow", 1_000),
        "player_id": CardinalityLimit("allow", 10_000),
        "env": CardinalityLimit("allow", 10),
        "app_name": CardinalityLimit("allow", 100),
        "app_version": CardinalityLimit("allow", 500),
        "event_type": CardinalityLimit("allow", 60),
        "device_category": CardinalityLimit("allow", 10),
        "os_family": CardinalityLimit("allow", 20),
        "browser_family": CardinalityLimit("allow", 20),
        "player_name": CardinalityLimit("allow", 20),
        "network_country": CardinalityLimit("allow", 250),
        "content_type": CardinalityLimit("allow", 5),
        "error_family": CardinalityLimit("allow", 20),
        "error_code": CardinalityLimit("allow", 200),
        "trigger": CardinalityLimit("allow", 20),
        "video_id": CardinalityLimit("bucket", 100_000, 10_000),
        "video_title": CardinalityLimit("bucket", 100_000, 10_000),
        "network_region": CardinalityLimit("bucket", 1_000, 100),
        "cdn": CardinalityLimit("allow", 50),
        "session_id": CardinalityLimit("hash", None),
        "view_id": CardinalityLimit("hash", None),
        "viewer_id": CardinalityLimit("hash", None),
        "video_source_url": CardinalityLimit("drop", None),
    }


@pytest.mark.parametrize(
    ("entry", "limit"),
    [
        ({}, CardinalityLimit("bucket", 100_000, 10_000)),
        ({"max_cardinality": 7}, CardinalityLimit("bucket", 7, 10_000)),
        ({"max_cardinality": 0}, CardinalityLimit("bucket", 0, 10_000)),
        ({"max_cardinality": None}, CardinalityLimit("bucket", None, 10_000)),
        ({"bucket_size": 7}, CardinalityLimit("bucket", 100_000, 7)),
        ({"action": "allow", "max_cardinality": 7}, CardinalityLimit("allow", 7, 10_000)),
        ({"action": "allow"}, CardinalityLimit("allow", None, 10_000)),  # action without limit
        ({"action": "hash"}, CardinalityLimit("hash", None, 10_000)),
        ({"action": "drop"}, CardinalityLimit("drop", None, 10_000)),
        (
            {"max_cardinality": 100_000, "action": "bucket", "bucket_size": 5},
            CardinalityLimit("bucket", 100_000, 5),
        ),
    ],
)
def test_entry_overrides_only_its_dimension(entry: dict[str, Any], limit: CardinalityLimit) -> None:
    for document in ({"limits": {"video_id": entry}}, {"video_id": entry}):
        limits = parse_cardinality_limits(document)
        assert limits["video_id"] == limit
        assert {**limits, "video_id": 0} == {**DEFAULT_LIMITS, "video_id": 0}


@pytest.mark.parametrize("document", [{}, {"limits": {}}])
def test_empty_document_keeps_the_defaults(document: dict[str, Any]) -> None:
    assert parse_cardinality_limits(document) == DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("document", "message"),
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
def test_invalid_document_names_entry_and_member(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_cardinality_limits(document)
    assert message in str(caught.value)


def test_parsed_limits_are_read_only() -> None:
    with pytest.raises(TypeError):
        parse_cardinality_limits({})["env"] = CardinalityLimit("drop")  # type: ignore[index]


def test_lists_of_allowed_and_denied_values_are_parsed() -> None:
    limits = parse_cardinality_limits({"app_version": {"allow": ["1.0"], "deny": ["x", "y"]}})
    assert limits["app_version"].allow == {"1.0"}
    assert limits["app_version"].deny == {"x", "y"}
    assert limits["app_version"].max_cardinality == 500


@pytest.mark.parametrize("values", ["1.0", [1], {"1.0": True}])
def test_list_of_anything_but_strings_is_refused(values: object) -> None:
    with pytest.raises(ValueError, match="deny is not a list of strings"):
        parse_cardinality_limits({"app_version": {"deny": values}})
