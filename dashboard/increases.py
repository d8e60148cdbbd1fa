"""Increases of counters over a time range, exact to the sample.

The increase of a series over (since, until] is the sum of the differences between its successive
samples there, the first one against the latest sample at or before ``since``. As with Prometheus:

- A smaller value is a reset: the counter began anew from 0, so the value itself is added. The
  same after a stale marker, even where the value is not smaller.
- The first sample that a series has at all adds nothing: the exporter sends a 0 before the first
  value of a new series (``core/sinks/series_exporter.py``). Where there is none, the total was
  reached in a time that the store does not know.

Unlike with Prometheus nothing is extrapolated to the edges of the range: what is shown are counts.
Several instances are added up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .parameters import Scope
from .sample_reader import Reader
from .selection import chosen

Label = str | float | None


def bounds(reader: Reader, name: str) -> tuple[float, ...]:
    """The upper bounds of a histogram's buckets.

    A bucket that did not grow has no increase; to tell what lies between two bounds one has to
    know of those as well.

    Args:
        reader: The store.
        name: The metric with its ending, ``…_bucket``.

    Raises:
        QueryTimeoutError: It takes too long.
        sqlite3.Error: The store cannot be read.
    """
    rows = reader.rows(
        "SELECT DISTINCT le FROM series WHERE name = :name AND le IS NOT NULL ORDER BY le",
        {"name": name},
    )
    return tuple(le for (le,) in rows)


@dataclass(frozen=True, slots=True)
class Increase:
    """What a group of series grew by within one step.

    Attributes:
        name: The metric.
        labels: The labels that were asked for, in that order; None where there is none.
        step: The number of the step from ``since``.
        amount: How much. What did not grow at all may be left out.
    """

    name: str
    labels: tuple[Label, ...]
    step: int
    amount: float


def increases(
    reader: Reader,
    names: Sequence[str],
    scope: Scope,
    by: Sequence[str] = (),
    step: int | None = None,
) -> list[Increase]:
    """The increases of series.

    Args:
        reader: The store.
        names: Metrics as they are stored (``…_bucket``, ``…_sum``).
        scope: Range and filters.
        by: Labels to tell series apart by; over all others they are added up.
        step: Length of a step in ms; None for one that is the whole range.

    Raises:
        QueryTimeoutError: It takes too long.
        sqlite3.Error: The store cannot be read.
    """
    series, values = chosen(names, by, scope)
    groups = "".join(f", by_{i}" for i in range(len(by)))
    statement = f"""
        WITH chosen AS MATERIALIZED ({series}),
        points AS (
            SELECT name{groups}, at, value,
                lag(at) OVER earlier AS previous_at, lag(value) OVER earlier AS previous
            FROM chosen JOIN samples ON series = chosen.id
            WHERE at <= :until AND at >= coalesce(
                (SELECT max(at) FROM samples WHERE series = chosen.id AND at <= :since), :since)
            WINDOW earlier AS (PARTITION BY chosen.id ORDER BY at)
        )
        SELECT name{groups}, (at - :since - 1) / :step AS step, sum(
            CASE WHEN previous IS NULL OR value < previous THEN value ELSE value - previous END
        )
        FROM points
        WHERE at > :since AND previous_at IS NOT NULL AND value IS NOT NULL
        GROUP BY name{groups}, step
    """
    rows = reader.rows(statement, {**values, "step": step or scope.length})
    return [Increase(row[0], tuple(row[1:-2]), row[-2], row[-1]) for row in rows]
