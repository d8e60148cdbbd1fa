"""Increases of counters over a time range, exact to the sample.

The increase of a series over (since, until] is the sum of the differences between its successive
samples there, the first one against the latest sample at or before ``since``. As with Prometheus:

- A smaller value is a reset: the counter restarted from 0, so the value itself is added. The same
  applies after a stale marker, even where the value is not smaller.
- The very first sample of a series adds nothing: the exporter sends a 0 before the first value of
  a new series (``core/sinks/series_exporter.py``). Where that is missing, the total was reached
  before the store had data.

Unlike in Prometheus, nothing is extrapolated to the edges of the range: the results are counts.
Instances are summed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .query_parameters import Scope
from .sample_reader import Reader
from .series_selection import select_series

Label = str | float | None


def bounds(reader: Reader, name: str) -> tuple[float, ...]:
    """The upper bounds of a histogram's buckets.

    Buckets without an increase are included: a histogram needs all its bounds.

    Args:
        reader: The store.
        name: The metric with its ending, ``…_bucket``.

    Raises:
        QueryTimeoutError: The query needs too much time.
        sqlite3.Error: The store cannot be read.
    """
    rows = reader.rows(
        "SELECT DISTINCT le FROM series WHERE name = :name AND le IS NOT NULL ORDER BY le",
        {"name": name},
    )
    return tuple(le for (le,) in rows)


@dataclass(frozen=True, slots=True)
class Increase:
    """The increase of a group of series within one step.

    Attributes:
        name: The metric.
        labels: The requested labels, in that order; None for a label that is missing.
        step: The number of the step from ``since``.
        amount: The increase. Groups without one may be left out.
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
        by: Labels to group by; series are summed over all others.
        step: Length of a step in ms; None for a single step.

    Raises:
        QueryTimeoutError: The query needs too much time.
        sqlite3.Error: The store cannot be read.
    """
    series, values = select_series(names, by, scope)
    groups = "".join(f", by_{i}" for i in range(len(by)))
    statement = f"""
        WITH selected AS MATERIALIZED ({series}),
        points AS (
            SELECT name{groups}, at, value,
                lag(at) OVER earlier AS previous_at, lag(value) OVER earlier AS previous
            FROM selected JOIN samples ON series = selected.id
            WHERE at <= :until AND at >= coalesce(
                (SELECT max(at) FROM samples WHERE series = selected.id AND at <= :since), :since)
            WINDOW earlier AS (PARTITION BY selected.id ORDER BY at)
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
