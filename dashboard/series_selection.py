"""Selects the series of a question, as SQL."""

from collections.abc import Sequence
from typing import Final

from .query_parameters import FILTERS, Scope

COLUMNS: Final = frozenset({*FILTERS, "instance", "le"})
"""Labels that have a column; others are read from the JSON of the label set."""

OWN_LABELS: Final = frozenset(
    {
        "cause",
        "destination",
        "dimension",
        "error_code",
        "error_family",
        "outcome",
        "part",
        "quartile",
        "reason",
        "resolution",
        "version",
    }
)
"""Labels without a column by which series can be grouped."""

Parameters = dict[str, str | int | float | None]


def select_series(names: Sequence[str], by: Sequence[str], scope: Scope) -> tuple[str, Parameters]:
    """A query for the series that have one of these names and match the filters.

    Args:
        names: Names of metrics as they are stored (``…_bucket``, ``…_sum``).
        by: Labels to group by, in columns ``by_0``, ``by_1`` …
        scope: Range and filters.

    Returns:
        The query, with the columns id, name and by_…; and its parameters, with since and until
        among them.
    """
    values: Parameters = {"since": scope.since, "until": scope.until}
    values |= {f"name_{i}": name for i, name in enumerate(names)}
    among = ", ".join(f":name_{i}" for i in range(len(names)))
    columns = "".join(f", {label(name)} AS by_{i}" for i, name in enumerate(by))
    conditions = [f"name IN ({among})", "first_seen <= :until"]
    for name, value in scope.filters.items():
        values[f"filter_{name}"] = value
        conditions.append(condition(name))
    return f"SELECT id, name{columns} FROM series WHERE {' AND '.join(conditions)}", values


def label(name: str) -> str:
    """A label of a series as an expression of SQL."""
    if name in COLUMNS:
        return name
    if name in OWN_LABELS:
        return f"json_extract(labels, '$.{name}')"
    raise ValueError(f"series cannot be grouped by {name}")


def condition(name: str) -> str:
    """The condition that a label has the value ``:filter_<name>``."""
    if name == "video_id":
        # Users know the video's own id; series have the governed label.
        return (
            "video_id IN (SELECT label FROM videos WHERE video_id = :filter_video_id "
            "UNION ALL SELECT :filter_video_id)"
        )
    if name not in COLUMNS:
        raise ValueError(f"series cannot be filtered by {name}")
    return f"{name} = :filter_{name}"
