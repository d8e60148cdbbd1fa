"""Quantiles of histograms, as Prometheus' ``histogram_quantile()`` estimates them.

Interpolates linearly within the bucket that holds the quantile, so the precision is that of the
buckets. A quantile in the last bucket, which has no upper bound, is the bound of the one before.
"""

from collections.abc import Mapping, Sequence
from math import inf, isinf


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """Estimate a quantile.

    Args:
        q: Between 0 and 1.
        buckets: Cumulative counts by upper bound (``le``).

    Returns:
        The estimate; None without observations, without the last bucket, or with only that.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or not isinf(bounds[-1]):
        return None
    total = buckets[inf]
    if total <= 0:
        return None
    rank = q * total
    lower, below = 0.0, 0.0
    for bound in bounds[:-1]:
        # Buckets of several flushes may not be consistent to the last count.
        count = max(buckets[bound], below)
        if count >= rank and count > below:
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return bounds[-2]


def spread(buckets: Mapping[float, float]) -> Sequence[tuple[float, float]]:
    """The count of each bucket alone, with its upper bound."""
    counts: list[tuple[float, float]] = []
    below = 0.0
    for bound in sorted(buckets):
        count = max(buckets[bound], below)
        counts.append((bound, count - below))
        below = count
    return counts
