"""Cardinality limits of the dimensions: how many values a label may have, and the action applied.

Actions:
    allow: admit the first ``max_cardinality`` values; map later ones to overflow labels.
    bucket: map numbers to ranges of ``bucket_size`` and other strings to one of ``bucket_size``
        hash buckets; then limit the buckets like "allow".
    hash: replace every value by its hash; then limit the hashes like "allow", if there is a limit.
    drop: leave the label out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

Action = Literal["allow", "bucket", "hash", "drop"]

DEFAULT_BUCKET_SIZE = 1000


@dataclass(frozen=True, slots=True)
class CardinalityLimit:
    """Limit of one dimension.

    Attributes:
        action: See the module's docstring.
        max_cardinality: Maximum admitted label values; None for no limit.
        bucket_size: Width of a numeric range and number of hash buckets, for "bucket".
        allow: Label values that are always admitted and need no place.
        deny: Label values that are never admitted.
    """

    action: Action
    max_cardinality: int | None = None
    bucket_size: int = DEFAULT_BUCKET_SIZE
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()


DEFAULT_LIMITS: Mapping[str, CardinalityLimit] = MappingProxyType(
    {
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
        "session_id": CardinalityLimit("hash"),
        "view_id": CardinalityLimit("hash"),
        "viewer_id": CardinalityLimit("hash"),
        "video_source_url": CardinalityLimit("drop"),
    }
)
"""The dimensions of the original contract; ``trigger``, a label of quality changes whose values the
page chooses; and ``cdn``, which CMCD reports."""

EXTRA_DIMENSIONS = (
    "video_title",
    "video_source_url",
    "network_region",
    "cdn",
    "session_id",
    "view_id",
    "viewer_id",
)
"""Dimensions that can be added to the base labels (OPENQOE_EXTRA_LABELS)."""


def parse_cardinality_limits(document: Mapping[str, Any]) -> Mapping[str, CardinalityLimit]:
    """Override the default limits by those of a CARDINALITY_LIMITS document.

    Args:
        document: ``{"limits": {dimension: {"action", "max_cardinality", "bucket_size", "allow",
            "deny"}}}``, or the inner object alone. An entry with an action and without
            ``max_cardinality`` has no limit; other missing members keep their default.

    Raises:
        ValueError: The document is invalid; the message names the entry and the member.
    """
    entries = document.get("limits", document)
    if not isinstance(entries, dict):
        raise ValueError('is wrong: "limits" is not an object')
    limits = dict(DEFAULT_LIMITS)
    for dimension, entry in entries.items():
        where = f"is wrong at {dimension!r}"
        if dimension not in DEFAULT_LIMITS:
            raise ValueError(f"{where}: no such dimension; there are {', '.join(DEFAULT_LIMITS)}")
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: not an object")
        if unknown := sorted(set(entry) - _MEMBERS):
            raise ValueError(f"{where}: unknown member {unknown[0]!r}")
        before = limits[dimension]
        action = entry.get("action", before.action)
        if action not in get_args(Action):
            raise ValueError(f"{where}: action is not one of {', '.join(get_args(Action))}")
        limits[dimension] = CardinalityLimit(
            cast(Action, action),
            _number(where, entry, "max_cardinality", None, least=0)
            if "max_cardinality" in entry or "action" in entry
            else before.max_cardinality,
            _number(where, entry, "bucket_size", before.bucket_size, least=1)
            or DEFAULT_BUCKET_SIZE,
            _values(where, entry, "allow"),
            _values(where, entry, "deny"),
        )
    return MappingProxyType(limits)


_MEMBERS = {"action", "max_cardinality", "bucket_size", "allow", "deny"}


def _values(where: str, entry: Mapping[str, Any], member: str) -> frozenset[str]:
    values = entry.get(member, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{where}: {member} is not a list of strings")
    return frozenset(values)


def _number(
    where: str, entry: Mapping[str, Any], member: str, default: int | None, *, least: int
) -> int | None:
    value = entry.get(member, default)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{where}: {member} is not a whole number of at least {least}")
    return value
