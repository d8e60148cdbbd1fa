"""Answers about viewers: tiles, charts, breakdowns, errors, bit rates and resolutions."""

from collections import defaultdict
from typing import Any, Final

from . import qoe_measures
from .counter_increases import bounds, increases
from .gauge_values import gauge_course
from .qoe_measures import Measures, tally
from .quantiles import quantile, spread
from .query_parameters import FILTERS, Scope
from .sample_reader import Reader

DIMENSIONS: Final = FILTERS
"""Labels by which views can be broken down."""

ORDERS: Final = ("views", "startup_p95", "rebuffering", "errors")
"""Sort orders of a breakdown, highest first."""

OFFERED: Final = 200
"""Most values that a filter offers, the latest first."""

OWN: Final = len(qoe_measures.BY)
"""Place of a question's own label, after those of the measures."""

SEVERAL: Final = 3
"""Titles that are shown for a label that stands for several videos."""


def overview(reader: Reader, scope: Scope, lookback: int) -> dict[str, Any]:
    """The tiles, those of the previous range of equal length, and the funnel."""
    found = increases(
        reader,
        (*qoe_measures.MEASURED, qoe_measures.QUARTILES),
        scope.with_previous(),
        (*qoe_measures.BY, "quartile"),
        scope.length,
    )
    groups = tally(found, bounds(reader, qoe_measures.STARTUP), (0, 1))
    quartiles: dict[str, float] = defaultdict(float)
    for increase in found:
        if increase.name == qoe_measures.QUARTILES and increase.step == 1:
            quartiles[str(increase.labels[OWN])] += increase.amount
    current = groups[1]
    concurrent = gauge_course(reader, qoe_measures.CONCURRENT, scope, scope.length, lookback)
    return {
        "concurrent_views": {"now": concurrent.now, "peak": concurrent.peak},
        "current": current.document(),
        # A comparison with a range that the store knows in part would mislead.
        "previous": groups[0].document() if _knows(reader, scope.with_previous()) else None,
        "funnel": [
            {"stage": "started", "views": current.views},
            *({"stage": name, "views": quartiles[name]} for name in ("25", "50", "75")),
            {"stage": "completed", "views": current.completed},
        ],
    }


def timeline(reader: Reader, scope: Scope, step: int, lookback: int) -> dict[str, Any]:
    """The charts: a value for each step. ``times`` holds the ends of the steps.

    The last step may not have ended; its counts are incomplete then.
    """
    scope = scope.on_grid(step)
    count = -(-scope.length // step)
    names = (*qoe_measures.MEASURED, qoe_measures.FINE_BITRATE)
    found = increases(reader, names, scope, (*qoe_measures.BY, "error_family"), step)
    groups = tally(found, bounds(reader, qoe_measures.STARTUP), range(count))
    steps = [groups[number] for number in range(count)]
    errors: dict[str, list[float]] = defaultdict(lambda: [0.0] * count)
    no_bitrates = dict.fromkeys(bounds(reader, qoe_measures.FINE_BITRATE), 0.0)
    bitrates = [{**no_bitrates} for _ in range(count)]
    for increase in found:
        if increase.name == qoe_measures.ERRORS and increase.amount:
            errors[str(increase.labels[OWN] or "")][increase.step] += increase.amount
        elif increase.name == qoe_measures.FINE_BITRATE and isinstance(increase.labels[1], float):
            bitrates[increase.step][increase.labels[1]] += increase.amount
    return {
        "step": step,
        "times": [min(scope.since + (number + 1) * step, scope.until) for number in range(count)],
        "running": scope.length % step > 0,
        "known_since": _known_since(reader),
        "series": {
            "concurrent_views": gauge_course(
                reader, qoe_measures.CONCURRENT, scope, step, lookback
            ).peaks,
            "views_started": [one.views for one in steps],
            "views_completed": [one.completed for one in steps],
            "startup_p50": [quantile(0.5, one.startup) for one in steps],
            "startup_p95": [quantile(0.95, one.startup) for one in steps],
            "startup_p99": [quantile(0.99, one.startup) for one in steps],
            "rebuffering_ratio": [one.rebuffering_ratio for one in steps],
            "rebuffers_per_hour": [one.rebuffers_per_hour for one in steps],
            "exit_before_start_ratio": [one.exit_before_start_ratio for one in steps],
            "start_failure_ratio": [one.start_failure_ratio for one in steps],
            "playback_failure_ratio": [one.playback_failure_ratio for one in steps],
            "score": [one.score for one in steps],
            "playing_seconds": [one.played for one in steps],
            "watch_seconds": [one.watched for one in steps],
            "bitrate_p10": [quantile(0.1, one) for one in bitrates],
            "bitrate_p50": [quantile(0.5, one) for one in bitrates],
            "bitrate_p90": [quantile(0.9, one) for one in bitrates],
        },
        "errors": dict(sorted(errors.items(), key=lambda item: -sum(item[1]))),
    }


def picture(reader: Reader, scope: Scope) -> dict[str, Any]:
    """The distribution of bit rates, and of the time played by resolution."""
    names = (qoe_measures.BITRATE, qoe_measures.RESOLUTION)
    bitrates = dict.fromkeys(bounds(reader, qoe_measures.BITRATE), 0.0)
    resolutions: dict[str, float] = defaultdict(float)
    for increase in increases(reader, names, scope, ("le", "resolution")):
        le, resolution = increase.labels
        if isinstance(le, float):
            bitrates[le] += increase.amount
        else:
            resolutions[str(resolution or "unknown")] += increase.amount
    mix, lower = [], 0.0
    for bound, count in spread(bitrates):
        # JSON has no infinity: the last bucket has no upper end.
        upper = None if bound == float("inf") else bound
        mix.append({"from": lower, "to": upper, "observations": count})
        lower = bound
    return {
        "bitrate": mix,
        "resolution": [
            {"resolution": name, "seconds": seconds}
            for name, seconds in sorted(resolutions.items())
            if seconds
        ],
    }


def errors(reader: Reader, scope: Scope) -> dict[str, Any]:
    """Errors by family and code, most frequent first."""
    found = increases(reader, (qoe_measures.ERRORS,), scope, ("error_family", "error_code"))
    rows = [
        {"family": one.labels[0], "code": one.labels[1], "errors": one.amount}
        for one in sorted(found, key=lambda one: (-one.amount, str(one.labels)))
        if one.amount
    ]
    return {"total": sum(one.amount for one in found), "errors": rows}


def breakdown(
    reader: Reader, scope: Scope, by: str, order: str, limit: int, least_views: int
) -> dict[str, Any]:
    """The measures for each value of a label.

    Args:
        reader: The store.
        scope: Range and filters.
        by: The label.
        order: Sort order, highest first.
        limit: Most rows.
        least_views: Values with fewer started views are left out: their ratios say little.
    """
    found = increases(reader, qoe_measures.MEASURED, scope, (*qoe_measures.BY, by))
    groups = [
        (str(value) if value is not None else None, one)
        for value, one in tally(found, bounds(reader, qoe_measures.STARTUP), (), key=OWN).items()
        if one.views >= least_views and _has_any(one, order)
    ]
    groups.sort(
        key=lambda group: (-(_rank(group[1], order) or 0.0), -group[1].views, group[0] or "")
    )
    rows: list[dict[str, Any]] = [
        {"value": value, **one.document()} for value, one in groups[:limit]
    ]
    if by == "video_id":
        for row in rows:
            row |= _video(reader, row["value"])
    return {
        "by": by,
        "order": order,
        "views_started": sum(one.views for _, one in groups),
        "values": len(groups),
        "rows": rows,
    }


def filter_values(reader: Reader, since: int) -> dict[str, Any]:
    """The values of each filter, with the texts that people know them by.

    Args:
        reader: The store.
        since: Values last seen before this time (ms) are left out.
    """
    offered: dict[str, list[dict[str, str]]] = {}
    for name in FILTERS:
        rows = reader.rows(
            f"SELECT {name} FROM series WHERE name = :name AND {name} IS NOT NULL "
            f"AND last_seen > :since GROUP BY {name} ORDER BY max(last_seen) DESC, 1 LIMIT :limit",
            {"name": qoe_measures.EVENTS, "since": since, "limit": OFFERED},
        )
        values = sorted(str(value) for (value,) in rows)
        offered[name] = [{"value": value, "text": value} for value in values]
    for option in offered["video_id"]:
        option["text"] = _video(reader, option["value"])["title"] or option["value"]
    offered["video_id"].sort(key=lambda option: option["text"])
    return {"filters": offered}


def _knows(reader: Reader, scope: Scope) -> bool:
    """Whether the store has data from the start of a range."""
    first = _known_since(reader)
    return first is not None and first <= scope.since


def _known_since(reader: Reader) -> int | None:
    """Time of the first event in ms; None if there is none."""
    ((first,),) = reader.rows(
        "SELECT min(first_seen) FROM series WHERE name = :name", {"name": qoe_measures.EVENTS}
    )
    return None if first is None else int(first)


def _rank(one: Measures, order: str) -> float | None:
    if order == "startup_p95":
        return quantile(0.95, one.startup)
    if order == "rebuffering":
        return one.rebuffering_ratio
    if order == "errors":
        return qoe_measures.ratio(one.errors, one.views)
    return one.views


def _has_any(one: Measures, order: str) -> bool:
    if order == "views":
        return any((one.views, one.completed, one.played, one.errors, one.rebuffers))
    return (_rank(one, order) or 0.0) > 0


def _video(reader: Reader, label: str | None) -> dict[str, Any]:
    """Titles and ids of the videos that a governed label stands for."""
    rows = reader.rows(
        "SELECT video_id, title FROM videos WHERE label = :label ORDER BY last_seen DESC",
        {"label": label},
    )
    names = [str(title or video) for video, title in rows]
    title = ", ".join(names[:SEVERAL])
    if len(names) > SEVERAL:
        title += f" and {len(names) - SEVERAL} more"
    return {"title": title or None, "video_ids": [str(video) for video, _ in rows[:OFFERED]]}
