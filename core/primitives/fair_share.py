"""Fair shares of a bounded table: newcomers give way, then the largest groups."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

NEWCOMERS_SHARE: Final = 8
"""Newcomers are evicted before established entries while they are more than an eighth of the limit,
which leaves room for the first seconds of real views."""


def surplus_by_group(sizes: Mapping[str, int], surplus: int) -> Counter[str]:
    """Returns how many entries each group loses so that the largest groups become equal.

    That is max-min fairness.

    Args:
        sizes: Entries by group.
        surplus: Entries too many, at most all.

    Returns:
        Entries to remove, ``surplus`` in total. Equal groups lose alike, but for a remainder, which
        the first in alphabetical order bear.
    """
    lost: Counter[str] = Counter()
    if surplus <= 0:
        return lost
    descending = sorted(sizes, key=lambda group: (-sizes[group], group))
    above = 0  # entries of the groups that give way
    for count, group in enumerate(descending, 1):
        above += sizes[group]
        below = sizes[descending[count]] if count < len(descending) else 0
        if above - count * below >= surplus:
            level, remainder = divmod(above - surplus, count)
            for place, name in enumerate(sorted(descending[:count])):
                # The last ones keep one more.
                lost[name] = sizes[name] - level - (place >= count - remainder)
            break
    return lost
