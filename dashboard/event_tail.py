"""The latest events, or those of one view: the stored log entries."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

from openqoe.embedded.sample_schema import STREAM_LABELS

from .sample_reader import Reader

SEARCHED: Final = 50_000
"""A filter is applied to this many of the latest entries; a view is searched for in all."""

MAX_TAIL_CHARACTERS: Final = 4 * 1024 * 1024
"""Most characters of the lines of one answer: 1,000 lines may have 256 MiB."""


def tail(
    reader: Reader,
    filters: Mapping[str, str],
    *,
    event_type: str,
    view_id: str,
    contains: str,
    after: int,
    limit: int,
    most: int = MAX_TAIL_CHARACTERS,
) -> dict[str, Any]:
    """Log entries, the latest first.

    Args:
        reader: The store.
        filters: Label values by name.
        event_type: Type of the event; "" for any.
        view_id: Its view; "" for any.
        contains: Part of its text, in either case; "" for any.
        after: Only entries with a higher number are returned.
        limit: Most entries.
        most: Most characters of their lines; the older entries are left out and counted.
    """
    ((latest,),) = reader.rows(
        # Of the latest entries of all organisations, because visible ones may be far back.
        "SELECT coalesce(max(id), 0) FROM entries "
        "WHERE id > (SELECT max(id) FROM main.entries) - :searched",
        {"searched": SEARCHED},
    )
    conditions = ["entries.id > :after", "entries.id <= :latest"]
    values: dict[str, str | int | float | None] = {
        "after": after if view_id else max(after, latest - SEARCHED),
        "latest": latest,
        "limit": limit,
    }
    if event_type:
        conditions.append("entries.event_type = :event_type")
        values["event_type"] = event_type
    if view_id:
        conditions.append("entries.view_id = :view_id")
        values["view_id"] = view_id
    if contains:
        conditions.append("instr(lower(entries.line), lower(:contains)) > 0")
        values["contains"] = contains
    for name, value in filters.items():
        values[f"filter_{name}"] = value
        if name == "video_id":
            conditions.append(
                "(entries.video_id = :filter_video_id OR entries.video_id IN "
                "(SELECT video_id FROM videos WHERE label = :filter_video_id))"
            )
        elif name in STREAM_LABELS:
            conditions.append(f"streams.{name} = :filter_{name}")
    # Entries are numbered in the order of writing, which is by stream within a flush.
    found = reader.rows(
        "SELECT entries.id, length(entries.line) "
        "FROM entries JOIN streams ON streams.id = entries.stream "
        f"WHERE {' AND '.join(conditions)} ORDER BY entries.at DESC, entries.id DESC LIMIT :limit",
        values,
    )
    sizes = accumulate(length for _, length in found)
    ids = [number for (number, _), size in zip(found, sizes, strict=True) if size <= most]
    rows = reader.rows(
        "SELECT entries.id, entries.at, entries.event_type, streams.org_id, streams.player_id, "
        "entries.view_id, entries.video_id, entries.line "
        "FROM entries JOIN streams ON streams.id = entries.stream "
        f"WHERE entries.id IN ({','.join(map(str, ids))}) "
        "ORDER BY entries.at DESC, entries.id DESC",
        {},
    )
    names = ("id", "at", "event_type", "org_id", "player_id", "view_id", "video_id", "line")
    return {
        "latest": latest,
        "searched": None if view_id else min(SEARCHED, latest),
        "left_out": len(found) - len(ids),
        "entries": [dict(zip(names, row, strict=True)) for row in rows],
    }
