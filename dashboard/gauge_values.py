"""Values of gauges: at one time, and over a time range.

A sample is valid until the next one of its series, or until a stale marker. A worker that is killed
sends no marker; its samples are valid for the look-back. The store repeats an unchanged value every
five minutes, so the look-back is a little longer than that.

A sum over series adds the values that are valid at the same moment. Several workers flush at
different moments, and in a fleet one worker reports the concurrent views of all
(``docs/architecture.md``): the sum is right in both cases, also while another worker becomes the
one that reports.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .counter_increases import Label
from .query_parameters import MINUTE, Scope
from .sample_reader import Reader
from .series_selection import select_series

REPEAT_INTERVAL: Final = 5 * MINUTE
"""ms after which the store writes an unchanged value again."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge's value at one time.

    Attributes:
        name: The metric.
        labels: The requested labels, in that order.
        value: The value.
    """

    name: str
    labels: tuple[Label, ...]
    value: float


def readings(
    reader: Reader, names: Sequence[str], scope: Scope, lookback: int, by: Sequence[str] = ()
) -> list[Reading]:
    """The value of each series at the end of the range.

    Raises:
        QueryTimeoutError: The query needs too much time.
        sqlite3.Error: The store cannot be read.
    """
    series, values = select_series(names, by, scope)
    groups = "".join(f", by_{i}" for i in range(len(by)))
    statement = f"""
        WITH selected AS MATERIALIZED ({series})
        SELECT name{groups}, value
        FROM selected JOIN samples ON series = selected.id
        WHERE value IS NOT NULL AND at > :until - :lookback AND at =
            (SELECT max(at) FROM samples WHERE series = selected.id AND at <= :until)
    """
    rows = reader.rows(statement, {**values, "lookback": lookback})
    return [Reading(row[0], tuple(row[1:-1]), row[-1]) for row in rows]


@dataclass(frozen=True, slots=True)
class GaugeCourse:
    """The sum of some gauges over a range.

    Attributes:
        now: Its value at the end.
        peak: Its maximum.
        peaks: Its maximum in each step; None before the first sample.
    """

    now: float
    peak: float
    peaks: tuple[float | None, ...]


def gauge_course(reader: Reader, name: str, scope: Scope, step: int, lookback: int) -> GaugeCourse:
    """Sum a gauge over all its series.

    Args:
        reader: The store.
        name: The metric.
        scope: Range and filters.
        step: Length of a step in ms.
        lookback: How long a sample is valid at most, in ms.

    Raises:
        QueryTimeoutError: The query needs too much time.
        sqlite3.Error: The store cannot be read.
    """
    series, values = select_series((name,), (), scope)
    # Each sample adds its value at its time and subtracts it when it ends; the sum of all these
    # changes up to a moment is the value there.
    statement = f"""
        WITH selected AS MATERIALIZED ({series}),
        points AS (
            SELECT at, value, lead(at) OVER (PARTITION BY selected.id ORDER BY at) AS next_at
            FROM selected JOIN samples ON series = selected.id
            WHERE at <= :until AND at >= coalesce(
                (SELECT max(at) FROM samples WHERE series = selected.id AND at <= :since), :since)
        ),
        spans AS (
            SELECT value, max(at, :since + 1) AS begins,
                min(coalesce(next_at, :until + 1), at + :lookback) AS ends
            FROM points WHERE value IS NOT NULL
        ),
        changes AS (
            SELECT begins AS at, value AS change FROM spans WHERE ends > begins
            UNION ALL SELECT ends, -value FROM spans WHERE ends > begins
        ),
        totals AS (
            SELECT at, sum(change) AS change, sum(sum(change)) OVER (ORDER BY at) AS total
            FROM changes WHERE at <= :until GROUP BY at
        )
        SELECT (at - :since - 1) / :step AS step, sum(change), max(total), min(at)
        FROM totals GROUP BY step ORDER BY step
    """
    rows = reader.rows(statement, {**values, "step": step, "lookback": lookback})
    steps = {number: (change, top, first) for number, change, top, first in rows}
    peaks: list[float | None] = []
    level: float | None = None
    for number in range(-(-scope.length // step)):
        found = steps.get(number)
        if found is None:
            peaks.append(level)
            continue
        change, top, first = found
        # The value from before the first change was valid in the step, too, unless that change
        # was at its very start.
        if level is not None and first > scope.since + number * step + 1:
            top = max(top, level)
        level = (level or 0.0) + change
        peaks.append(top)
    known = [peak for peak in peaks if peak is not None]
    return GaugeCourse(level or 0.0, max(known, default=0.0), tuple(peaks))
