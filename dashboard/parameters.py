"""What a question to the API may say: the time range, the filters and the rest of its query.

Every fault names the parameter that is wrong, so that a person at a shell can use the API.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

FILTERS: Final = (
    "org_id",
    "player_id",
    "env",
    "app_name",
    "app_version",
    "device_category",
    "os_family",
    "browser_family",
    "player_name",
    "network_country",
    "content_type",
    "video_id",
)
"""Labels that an answer can be narrowed down to. ``video_id`` takes the video's own id as well as
its governed label."""

RANGE: Final = ("from", "to", "last")

MAX_RANGE: Final = 400 * DAY
DEFAULT_LAST: Final = HOUR
MAX_LENGTH: Final = 2048
"""Characters of a value: no label is longer."""

MAX_POINTS: Final = 1000
"""Points of a chart."""
POINTS: Final = 120
"""About as many points has a chart when nobody asks for a step."""

STEPS: Final = (
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 3, 6, 12)),
    *(n * DAY for n in (1, 2, 4, 7)),
)
"""Steps that a person can read off an axis, ms."""

_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_TIME: Final = re.compile(r"[0-9]{1,15}")


class ParameterError(Exception):
    """A parameter that cannot be used.

    Attributes:
        name: The parameter.
        fault: What is wrong with it.
    """

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"{name}: {fault}")
        self.name = name
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Scope:
    """Which part of the data an answer is about.

    Attributes:
        since: Begin of the range, ms since the epoch, not part of it.
        until: Its end, part of it.
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
        """The same with the equally long time before it."""
        return Scope(self.since - self.length, self.until, self.filters)

    def on_grid(self, step: int) -> "Scope":
        """The same from a whole multiple of a step: steps stay where they are as time goes by."""
        return Scope(self.since // step * step, self.until, self.filters)


def reject_unknown(query: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse parameters that would be ignored.

    Raises:
        ParameterError: There is one that is not known.
    """
    for name in query:
        if name not in known:
            raise ParameterError(name, f"is unknown here; there are {', '.join(known)}")


def scope(query: Mapping[str, str], now: int) -> Scope:
    """The range and the filters of a query.

    Args:
        query: The fields.
        now: Current time in ms: the range's end unless another is given.

    Raises:
        ParameterError: A value cannot be used.
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
    """The filters of a query; an empty one is none."""
    return {name: text(query, name) for name in FILTERS if query.get(name)}


def step(query: Mapping[str, str], scope: Scope, shortest: int) -> int:
    """The step of a chart, ms.

    Args:
        query: The fields.
        scope: The range.
        shortest: A shorter one would be empty every other time: the interval of flushes.

    Raises:
        ParameterError: The step is no duration, or makes too many points.
    """
    if query.get("step"):
        asked = duration(query, "step", 0)
        if scope.length // asked > MAX_POINTS:
            raise ParameterError("step", f"makes more than {MAX_POINTS} points of this range")
        return asked
    wanted = max(scope.length // POINTS, shortest)
    return next((step for step in STEPS if step >= wanted), STEPS[-1])


def time(query: Mapping[str, str], name: str, default: int) -> int:
    """A time in ms since the epoch.

    Raises:
        ParameterError: It is none.
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
        ParameterError: It is none.
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
        ParameterError: It is none, or out of bounds.
    """
    given = query.get(name, "")
    if not given:
        return default
    if not _TIME.fullmatch(given) or not least <= int(given) <= most:
        raise ParameterError(name, f"must be a whole number from {least} to {most}")
    return int(given)


def choice(query: Mapping[str, str], name: str, choices: Collection[str], default: str) -> str:
    """One of some words.

    Raises:
        ParameterError: It is none of them.
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
