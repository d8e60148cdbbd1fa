"""Parameters of a question: time range, filters and the rest of the query.

Every fault names its parameter, so that the API can be used by hand.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from openqoe.embedded.sample_schema import SERIES_LABELS

SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

FILTERS: Final = tuple(name for name in SERIES_LABELS if name != "instance")
"""Labels by which an answer can be filtered. ``video_id`` accepts the video's own id as well as its
governed label."""

VIEWER_IDS: Final = ("viewer_id", "session_id")
"""Filters, and columns of views, that show who watched."""

RANGE: Final = ("from", "to", "last")

MAX_RANGE: Final = 400 * DAY
DEFAULT_LAST: Final = HOUR
MAX_LENGTH: Final = 2048
"""Most characters of a value: no label is longer."""

MAX_POINTS: Final = 1000
"""Most points of a chart."""
POINTS: Final = 120
"""Approximate number of points of a chart without a given step."""

STEPS: Final = (
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 3, 6, 12)),
    *(n * DAY for n in (1, 2, 4, 7)),
)
"""Readable steps of a time axis, in ms."""

_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_DECIMAL: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_TIME: Final = re.compile(r"[0-9]{1,15}")


class ParameterError(Exception):
    """A parameter is invalid.

    Attributes:
        name: The parameter.
        fault: Why it is invalid.
    """

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"{name}: {fault}")
        self.name = name
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the data that an answer covers.

    Attributes:
        since: Start of the range, ms since the epoch, exclusive.
        until: Its end, inclusive.
        filters: Label values that series must have, by name.
    """

    since: int
    until: int
    filters: Mapping[str, str]

    @property
    def length(self) -> int:
        """The range's length in ms."""
        return self.until - self.since

    def with_previous(self) -> "Scope":
        """This range together with the previous one of equal length."""
        return Scope(self.since - self.length, self.until, self.filters)

    def on_grid(self, step: int) -> "Scope":
        """This range from a whole multiple of a step, so that steps do not move as time passes."""
        return Scope(self.since // step * step, self.until, self.filters)


def reject_unknown(query: Mapping[str, str], known: Collection[str]) -> None:
    """Reject parameters that would be ignored.

    Raises:
        ParameterError: A parameter is unknown.
    """
    for name in query:
        if name not in known:
            raise ParameterError(name, f"is unknown; known are {', '.join(known)}")


def reject_viewers(query: Mapping[str, str]) -> None:
    """Reject filters that show who watched.

    Raises:
        ParameterError: There is one.
    """
    for name in VIEWER_IDS:
        if query.get(name):
            raise ParameterError(name, "needs a key with the scope logs")


def scope(query: Mapping[str, str], now: int) -> Scope:
    """The range and the filters of a query.

    Args:
        query: The fields.
        now: Current time in ms: the default end of the range.

    Raises:
        ParameterError: A value is invalid.
    """
    until = time(query, "to", now)
    if "from" in query and "last" in query:
        raise ParameterError("last", "cannot be given beside from")
    since = time(query, "from", until - duration(query, "last", DEFAULT_LAST))
    if since >= until:
        raise ParameterError("from", "must be before to")
    if until - since > MAX_RANGE:
        raise ParameterError(
            "from" if "from" in query else "last", f"the range is over {MAX_RANGE // DAY} days"
        )
    return Scope(since, until, filters(query))


def filters(query: Mapping[str, str]) -> dict[str, str]:
    """The filters of a query; an empty value is no filter."""
    return {name: text(query, name) for name in FILTERS if query.get(name)}


def step(query: Mapping[str, str], scope: Scope, shortest: int) -> int:
    """The step of a chart, ms.

    Args:
        query: The fields.
        scope: The range.
        shortest: The flush interval. Shorter steps would be empty now and then.

    Raises:
        ParameterError: The step is not a duration, or gives too many points.
    """
    if query.get("step"):
        asked = duration(query, "step", 0)
        if scope.length // asked > MAX_POINTS:
            raise ParameterError("step", f"gives more than {MAX_POINTS} points for this range")
        return asked
    wanted = max(scope.length // POINTS, shortest)
    return next((step for step in STEPS if step >= wanted), STEPS[-1])


def time(query: Mapping[str, str], name: str, default: int) -> int:
    """A time in ms since the epoch.

    Raises:
        ParameterError: The value is malformed.
    """
    given = query.get(name, "")
    if not given:
        return default
    if not _TIME.fullmatch(given):
        raise ParameterError(name, "must be a time in ms since the epoch")
    return int(given)


def duration(query: Mapping[str, str], name: str, default: int) -> int:
    """A duration in ms, written like ``90s``, ``15m``, ``6h``, ``7d``, ``2w``.

    Raises:
        ParameterError: The value is malformed.
    """
    given = query.get(name, "")
    if not given:
        return default
    match = _DURATION.fullmatch(given)
    if match is None:
        raise ParameterError(name, "must be a duration like 30s, 15m, 6h, 7d")
    return int(match[1]) * _UNITS[match[2]]


def number(query: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """A whole number.

    Raises:
        ParameterError: The value is malformed or out of bounds.
    """
    given = query.get(name, "")
    if not given:
        return default
    if not _TIME.fullmatch(given) or not least <= int(given) <= most:
        raise ParameterError(name, f"must be a whole number from {least} to {most}")
    return int(given)


def decimal(query: Mapping[str, str], name: str) -> float:
    """A number that is not negative; 0 if there is none.

    Raises:
        ParameterError: The value is malformed.
    """
    given = query.get(name, "")
    if given and not _DECIMAL.fullmatch(given):
        raise ParameterError(name, "must be a number like 5 or 0.5")
    return float(given or 0)


def choice(query: Mapping[str, str], name: str, choices: Collection[str], default: str) -> str:
    """One of several words.

    Raises:
        ParameterError: The value is another word.
    """
    given = query.get(name, "") or default
    if given not in choices:
        raise ParameterError(name, f"must be one of {', '.join(choices)}")
    return given


def text(query: Mapping[str, str], name: str) -> str:
    """Any text, "" if there is none.

    Raises:
        ParameterError: It is too long, or cannot be written as UTF-8.
    """
    given = query.get(name, "")
    if len(given) > MAX_LENGTH:
        raise ParameterError(name, f"is longer than {MAX_LENGTH} characters")
    if any("\ud800" <= char <= "\udfff" for char in given):
        raise ParameterError(name, "is not valid Unicode")
    return given
