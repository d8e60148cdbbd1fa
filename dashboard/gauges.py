"""Values of gauges: at one time, and as they went over a time range.

A sample stands for the time until the next one of its series, or until a stale marker. A worker
that is killed sends no marker; then it stands for the look-back. The store repeats a value that
does not change every five minutes, so the look-back is a little longer than that.

A sum over series adds what stands at the same moment. Several workers flush at different moments,
and in a fleet one worker reports the concurrent views of all (``docs/architecture.md``): the sum
is right in both cases, also while that task passes from one worker to another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .increases import Label
from .parameters import MINUTE, Scope
from .sample_reader import Reader
from .selection import chosen

REPEATED: Final = 5 * MINUTE
"""ms after which the store writes a value again that has not changed."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge's value at one time.

    Attributes:
        name: The metric.
        labels: The labels that were asked for, in that order.
        value: The value.
    """

    name: str
    labels: tuple[Label, ...]
    value: float


def readings(
    reader: Reader, names: Sequence[str], scope: Scope, lookback: int, by: Sequence[str] = ()
) -> list[Reading]:
    """What series stand at at the end of the range, one by one.

    Raises:
        QueryTimeoutError: It takes too long.
        sqlite3.Error: The store cannot be read.
    """
    series, values = chosen(names, by, scope)
    groups = "".join(f", by_{i}" for i in range(len(by)))
    statement = f"""
        WITH chosen AS MATERIALIZED ({series})
        SELECT name{groups}, value
        FROM chosen JOIN samples ON series = chosen.id
        WHERE value IS NOT NULL AND at > :until - :lookback AND at =
            (SELECT max(at) FROM samples WHERE series = chosen.id AND at <= :until)
    """
    rows = reader.rows(statement, {**values, "lookback": lookback})
    return [Reading(row[0], tuple(row[1:-1]), row[-1]) for row in rows]


@dataclass(frozen=True, slots=True)
class Course:
    """How the sum of some gauges went over a range.

    Attributes:
        now: Where it stands at the end.
        peak: The highest it was.
        peaks: The highest it was in each step; None before there was anything.
    """

    now: float
    peak: float
    peaks: tuple[float | None, ...]


def course(reader: Reader, name: str, scope: Scope, step: int, lookback: int) -> Course:
    """How the sum of a gauge over all its series went.

    Args:
        reader: The store.
        name: The metric.
        scope: Range and filters.
        step: Length of a step in ms.
        lookback: How long a sample stands at most, ms.

    Raises:
        QueryTimeoutError: It takes too long.
        sqlite3.Error: The store cannot be read.
    """
    series, values = chosen((name,), (), scope)
    # Each sample is a rise at its time and a fall when it ends; the sum of all rises and falls
    # up to a moment is what stands there.
    statement = f"""
        WITH chosen AS MATERIALIZED ({series}),
        points AS (
            SELECT at, value, lead(at) OVER (PARTITION BY chosen.id ORDER BY at) AS next_at
            FROM chosen JOIN samples ON series = chosen.id
            WHERE at <= :until AND at >= coalesce(
                (SELECT max(at) FROM samples WHERE series = chosen.id AND at <= :since), :since)
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
        # What stood before the first change of the step stood in it, too, unless that came at
        # its very beginning.
        if level is not None and first > scope.since + number * step + 1:
            top = max(top, level)
        level = (level or 0.0) + change
        peaks.append(top)
    known = [peak for peak in peaks if peak is not None]
    return Course(level or 0.0, max(known, default=0.0), tuple(peaks))
