"""Faults of the simulated world, and their times.

An incident repeats, so that it can be seen at any time of a simulation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from .world import Country

KINDS: Final[Mapping[str, str]] = {
    "cdn": "the CDN of DE, AT and NL is slow and loses segments",
    "release": "the newest release of each app fails to decode for one view in four",
    "live": "the encoder of all live channels hiccups: stalls everywhere at once",
}
"""Kinds of incidents, with a description."""

DEGRADED_CDN: Final = "borealis"

MINUTE: Final = 60_000

_UNITS: Final = {"s": 1_000, "m": MINUTE, "h": 60 * MINUTE}
_SPAN: Final = r"(\d+(?:\.\d+)?)([smh])"
_FORM: Final = re.compile(rf"([a-z]+)(?:@{_SPAN})?(?:\+{_SPAN})?(?:/{_SPAN})?")


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault that repeats.

    Attributes:
        kind: One of ``KINDS``.
        after: ms from the start of the simulation to its first start.
        lasts: Its duration in ms.
        every: ms from one start to the next; 0: it happens once.
    """

    kind: str
    after: int = 3 * MINUTE
    lasts: int = 10 * MINUTE
    every: int = 30 * MINUTE

    def is_active(self, elapsed: float) -> bool:
        """Whether it is active some ms after the start of the simulation."""
        since = elapsed - self.after
        if since < 0:
            return False
        return (since % self.every if self.every else since) < self.lasts


def parse_incident(text: str) -> Incident:
    """Parse an incident of the command line: ``KIND[@AFTER][+LASTS][/EVERY]``.

    Raises:
        ValueError: The text is malformed; the message says why.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("must be KIND[@AFTER][+LASTS][/EVERY], such as cdn@3m+10m/30m")
    kind, *spans = match.groups()
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    default = Incident(kind)
    given = [
        round(float(number) * _UNITS[unit]) if number else None
        for number, unit in zip(spans[::2], spans[1::2], strict=True)
    ]
    after, lasts, every = (
        fallback if value is None else value
        for value, fallback in zip(
            given, (default.after, default.lasts, default.every), strict=True
        )
    )
    if every and lasts >= every:
        raise ValueError("lasts as long as the time until it comes again: it would never end")
    return Incident(kind, after, lasts, every)


@dataclass(frozen=True, slots=True)
class Condition:
    """The conditions of a viewer at a time.

    Attributes:
        speed: Factor of the throughput.
        delay: ms added to each round trip.
        loss: Share of segments that fail at the first attempt.
        failing: Share of views in which the decoder fails.
        gaps: Share of late segments in live channels.
    """

    speed: float = 1.0
    delay: float = 0.0
    loss: float = 0.0004
    failing: float = 0.0
    gaps: float = 0.0


WELL: Final = Condition()
SICK: Final = Condition(speed=0.05, delay=350.0, loss=0.06)
BROKEN_RELEASE: Final = Condition(failing=0.25)
HICCUPS: Final = Condition(gaps=0.25)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All incidents of a simulation.

    Attributes:
        start: When the simulation starts, ms since the epoch.
        incidents: The faults.
    """

    start: int
    incidents: tuple[Incident, ...] = field(default=())

    def condition(
        self, at: float, country: Country, *, is_newest: bool, is_live: bool
    ) -> Condition:
        """The conditions of a viewer at a time.

        Args:
            at: ms since the epoch.
            country: Where the viewer is.
            is_newest: Whether the app's release is its newest of several.
            is_live: Whether the video is live.
        """
        for incident in self.incidents:
            if not incident.is_active(at - self.start):
                continue
            if incident.kind == "cdn" and country.cdn == DEGRADED_CDN:
                return SICK
            if incident.kind == "release" and is_newest:
                return BROKEN_RELEASE
            if incident.kind == "live" and is_live:
                return HICCUPS
        return WELL

    def active(self, at: float) -> tuple[str, ...]:
        """The kinds of the active incidents."""
        return tuple(i.kind for i in self.incidents if i.is_active(at - self.start))
