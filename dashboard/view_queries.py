"""Answers about single views: the filtered list of views, and all that is known of one.

All rows come from the table ``views``, so a restriction of that table restricts every answer.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

import msgspec

from openqoe.core.config.worker_config import Config
from openqoe.core.events.cmcd_decoder import event_of_line
from openqoe.core.events.decoder import BatchDecoder
from openqoe.core.events.event_types import Event
from openqoe.core.events.faults import NotJsonError, WrongShapeError
from openqoe.core.qoe.view import view_key
from openqoe.core.qoe.view_course import course_of
from openqoe.core.qoe.view_rows import IDENTITY, ViewRow

from .query_parameters import ParameterError, Scope
from .sample_reader import Reader
from .view_sentence import sentence

COLUMNS: Final = ViewRow.__struct_fields__

OUTCOMES: Final = (
    *("completed", "stopped", "exit_before_start", "bounce", "start_failure"),
    *("playback_failure", "unknown", "running"),
)
"""Values of the filter ``outcome``; ``running`` are views that have not ended."""

SORTS: Final = {
    "last_seen": ("last_seen", True),
    "startup_ms": ("coalesce(startup_ms, -1)", True),
    "rebuffer_ms": ("rebuffer_ms", True),
    "watch_ms": ("watch_ms", True),
    "errors": ("errors", True),
    "score": ("coalesce(score, 101.0)", False),
}
"""Sort orders: expression, and whether it is descending. The lowest score comes first. Each has an
index."""

TEXTS: Final = ("error_code", "error_family", "viewer_id", "session_id", "view_id")
"""Filters by text beside those of all questions."""

COUNTED: Final = 10_000
"""Most views that are counted."""

MOST_EVENTS: Final = 3_000
"""Most events of a view on its page."""

COMPARED: Final = 1_000
"""Views of the same video, the latest, with whose median a view is compared."""

MEDIANS: Final = (
    *("startup_ms", "watch_ms", "rebuffers", "rebuffer_ms", "bitrate_avg", "score"),
    *("paused_ms", "errors"),
)

RELATED: Final = 20
"""Most views of the same session or viewer on a page."""

_CURSOR: Final = re.compile(r"(-?[0-9]{1,16}(?:\.[0-9]{1,20})?)~([0-9]{1,18})")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Values = dict[str, str | int | float | None]

Position = tuple[float, int]
"""Where a view stands in a sort order: its key there, and its id."""


def views(
    reader: Reader,
    scope: Scope,
    *,
    texts: Mapping[str, str],
    outcome: str,
    min_rebuffer: float,
    min_startup: float,
    sort: str,
    cursor: str,
    limit: int,
) -> dict[str, Any]:
    """The views that were active in the range and match the filters.

    Args:
        reader: The store.
        scope: Range and filters.
        texts: Further filters by column; "" for any.
        outcome: One of ``OUTCOMES``; "" for any.
        min_rebuffer: Least seconds of rebuffering.
        min_startup: Least seconds of start-up time.
        sort: One of ``SORTS``.
        cursor: ``next`` of the previous page; "" for the first page.
        limit: Most rows.

    Raises:
        ParameterError: The cursor is malformed.
    """
    conditions, values = _conditions(scope, texts, outcome, min_rebuffer, min_startup)
    order, is_descending = SORTS[sort]
    after = _parse_cursor(cursor)
    # One pass over the range counts the matches and finds them, unless they are too many.
    latest = reader.rows(
        f"SELECT {order}, id, coalesce(outcome, 'running') FROM views "
        f"WHERE {' AND '.join(conditions)} ORDER BY last_seen DESC, id DESC LIMIT {COUNTED + 1}",
        values,
    )
    is_capped = len(latest) > COUNTED
    has_first_page = sort == "last_seen" and after is None and limit < len(latest)
    if is_capped and not has_first_page:
        found = _walk(reader, conditions, values, order, after, limit + 1, is_descending)
    else:
        if sort != "last_seen":
            latest.sort(reverse=is_descending)
        found = latest
        if after is not None:
            found = [m for m in latest if (m[:2] < after if is_descending else m[:2] > after)]
    shown = found[:limit]
    answer: dict[str, Any] = {
        "views": _by_ids(reader, [match[1] for match in shown]),
        "next": f"{shown[-1][0]}~{shown[-1][1]}" if len(found) > limit else None,
        "sort": sort,
    }
    if after is None:
        outcomes = Counter(how for _, _, how in latest[:COUNTED])
        answer |= {"count": outcomes.total(), "is_capped": is_capped, "outcomes": outcomes}
    return answer


def _parse_cursor(cursor: str) -> Position | None:
    if not cursor:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise ParameterError("cursor", "is not one that an answer gave")
    return float(found[1]), int(found[2])


def _walk(
    reader: Reader,
    conditions: Sequence[str],
    values: Values,
    order: str,
    after: Position | None,
    limit: int,
    is_descending: bool,
) -> list[tuple[Any, ...]]:
    """Keys and ids of the first matches in a sort order.

    The matches are many, so a walk along the index of the sort order soon meets enough of them.
    """
    # A plus keeps SQLite from using the index of a filter, and then sorting all matches.
    plus = "" if order == "last_seen" else "+"
    where = " AND ".join(plus + condition for condition in conditions)
    direction, beyond = ("DESC", "<") if is_descending else ("ASC", ">")
    if after is not None:
        where += f" AND ({order}, id) {beyond} (:after, :after_id)"
        values = {**values, "after": after[0], "after_id": after[1]}
    return reader.rows(
        f"SELECT {order}, id FROM views WHERE {where} "
        f"ORDER BY {order} {direction}, id {direction} LIMIT :most",
        {**values, "most": limit},
    )


def _by_ids(reader: Reader, ids: Sequence[int]) -> list[dict[str, Any]]:
    """The rows with these ids, in their order."""
    rows = reader.rows(
        f"SELECT id, {', '.join(COLUMNS)} FROM views "
        "WHERE id IN (SELECT value FROM json_each(:ids))",
        {"ids": json.dumps(ids)},
    )
    by_id = {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows}
    return [by_id[one] for one in ids]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV (RFC 4180). No cell begins like a formula: tables are opened in spreadsheets."""
    lines = [COLUMNS, *([_cell(row[name]) for name in COLUMNS] for row in rows)]
    return "".join(",".join(line) + "\r\n" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, str) and text.startswith(_FORMULA):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in '",\r\n') else text


def _conditions(
    scope: Scope,
    texts: Mapping[str, str],
    outcome: str,
    min_rebuffer: float,
    min_startup: float,
) -> tuple[list[str], Values]:
    """The conditions of a list, each of which begins with a column, and their values."""
    conditions = ["last_seen >= :since", "began_at <= :until"]
    values: Values = {"since": scope.since, "until": scope.until}
    for name, value in scope.filters.items():
        values[f"filter_{name}"] = value
        if name == "video_id":
            # The video's own id, or its governed label.
            conditions.append(
                "video_id IN (SELECT :filter_video_id UNION ALL "
                "SELECT video_id FROM videos WHERE label = :filter_video_id)"
            )
        else:
            conditions.append(f"{name} = :filter_{name}")
    for name, value in texts.items():
        if value:
            values[name] = value
            conditions.append(f"{name} = :{name}")
    if outcome == "running":
        conditions.append("outcome IS NULL")
    elif outcome:
        values["outcome"] = outcome
        conditions.append("outcome = :outcome")
    if min_rebuffer:
        values["min_rebuffer"] = min_rebuffer * 1000
        conditions.append("rebuffer_ms >= :min_rebuffer")
    if min_startup:
        values["min_startup"] = min_startup * 1000
        conditions.append("startup_ms >= :min_startup")
    return conditions, values


def view(
    reader: Reader, config: Config, *, org_id: str, view_id: str, video_id: str, player: str
) -> dict[str, Any]:
    """All that is known of one view.

    Args:
        reader: The store.
        config: The settings.
        org_id: Its organisation.
        view_id: Its id. A page that plays several videos gives them one id.
        video_id: Its video; "" for the latest one with this id.
        player: Its player; "" for any.
    """
    identity: Values = {"org_id": org_id, "view_id": view_id}
    same_id = _rows(
        reader, "view_id = :view_id AND org_id = :org_id", identity, order="last_seen DESC"
    )
    found = next(
        (
            row
            for row in same_id
            if video_id in ("", row["video_id"]) and player in ("", row["player"])
        ),
        None,
    )
    if found is None:
        return {"view": None}
    events, lines, left_out = _events(reader, config, found)
    course = course_of(events) if events else None
    return {
        "view": found,
        "sentence": sentence(found, course.last_state if course else found["state"]),
        "medians": _medians(reader, found),
        "course": None if course is None else msgspec.to_builtins(course),
        "events": lines,
        "events_left_out": left_out,
        "same_id": [row for row in same_id if row is not found],
        "session": _related(reader, found, "session_id"),
        "viewer": _related(reader, found, "viewer_id"),
    }


def _rows(reader: Reader, where: str, values: Values, *, order: str) -> list[dict[str, Any]]:
    rows = reader.rows(
        f"SELECT {', '.join(COLUMNS)} FROM views WHERE {where} ORDER BY {order} LIMIT 100", values
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _events(
    reader: Reader, config: Config, row: Mapping[str, Any]
) -> tuple[list[Event], list[dict[str, Any]], int]:
    """The events of a view in order, their lines, and how many of the latest are left out."""
    found = reader.rows(
        "SELECT at, line FROM entries WHERE view_id = :view_id ORDER BY at, id LIMIT :most",
        {"view_id": row["view_id"], "most": 4 * MOST_EVENTS},
    )
    decoder = BatchDecoder(config)
    events: list[tuple[Event, dict[str, Any]]] = []
    for at, line in found:
        event = _decode_line(decoder, line.encode(), at)
        if event is None:
            continue
        key = view_key(event)
        # The line has this view_id already; a key holds the hash of a long one.
        own = (key.org_id, row["view_id"], key.video or "", key.player or "")
        if own == _identity(row):
            shown = {"at": int(event.event_time), "type": event.event_type, "line": line}
            events.append((event, shown))
    events.sort(key=lambda pair: pair[0].event_time)
    kept = events[:MOST_EVENTS]
    return [one for one, _ in kept], [shown for _, shown in kept], len(events) - len(kept)


def _decode_line(decoder: BatchDecoder, line: bytes, at: int) -> Event | None:
    """The event of a log line; None if it can no longer be read."""
    if (record := event_of_line(line)) is not None:
        return record
    try:
        decoded = decoder.decode(b'{"events":[' + line + b"]}", at)
    except (NotJsonError, WrongShapeError):
        return None
    return next((event for event, _ in decoded.events), None)


def _medians(reader: Reader, row: Mapping[str, Any]) -> dict[str, Any]:
    """The medians of the latest views of the same video in the same organisation."""
    found = reader.rows(
        f"SELECT {', '.join(MEDIANS)} FROM views WHERE video_id = :video_id AND org_id = :org_id "
        f"AND outcome IS NOT NULL ORDER BY last_seen DESC LIMIT {COMPARED}",
        {"video_id": row["video_id"], "org_id": row["org_id"]},
    )
    columns = zip(*found, strict=True) if found else ()
    known = [[value for value in column if value is not None] for column in columns]
    medians = {
        name: median(values) if values else None
        for name, values in zip(MEDIANS, known or [[]] * len(MEDIANS), strict=True)
    }
    return {"views": len(found), **medians}


def _related(reader: Reader, row: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
    """The latest other views of the same session or viewer."""
    if row[column] is None:
        return []
    found = _rows(
        reader,
        f"{column} = :value AND org_id = :org_id",
        {"value": row[column], "org_id": row["org_id"]},
        order="last_seen DESC",
    )
    return [one for one in found if _identity(one) != _identity(row)][:RELATED]


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in IDENTITY)
