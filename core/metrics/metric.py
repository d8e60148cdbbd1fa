"""Declaration of a metric, from which series, metadata and documentation follow."""

from enum import Enum

import msgspec


class MetricType(Enum):
    """Prometheus' metric types, with the numbers of remote-write metadata."""

    COUNTER = 1
    GAUGE = 2
    HISTOGRAM = 3


class Metric(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A metric family. Compared by identity, which makes it a cheap key.

    Attributes:
        name: The full name, with unit and ``_total``.
        type: Counter, gauge or histogram.
        help: One sentence.
        unit: "seconds", "bps", "bytes", "ratio", or "" for a plain number.
        labels: Names of its own labels, besides the base labels.
        buckets: Upper bounds of a histogram, ascending, without +Inf.
    """

    name: str
    type: MetricType
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
