"""The operations on the key-value store through which several workers count as one.

A store is small: four kinds of things under keys, and operations on each that are atomic by
themselves. None needs to be read before it is written, and each may be repeated: one that
was carried out and whose reply was lost does no harm when it comes again.

    set         values in order of admission         ``AddMembers``
    claim       one owner, for a time                ``Claim``
    log         entries in order, and a summary      ``Extend``, ``Summarize``
    recent      members by the time of their mark    ``Mark``, ``ListRecent``

Each operation touches one key, so that a store may spread keys over machines. Times are ms.
``shells/stores`` has stores; ``tests/stores`` holds what any store must do.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class AddMembers:
    """Add members to a set of bounded size; those that came first keep their place.

    The reply is a ``Members``.

    Attributes:
        key: The set's name.
        members: What to add; members that are in the set already keep their place.
        limit: How many members the set has at the most; None: unlimited.
        day: The current day (days since the epoch). A member that nobody has added
            again on this day or the day before has left the set.
        version: The version of the set that the caller knows; -1 for none.
        known: How many members the caller knows of that version.
    """

    key: str
    members: tuple[str, ...]
    limit: int | None
    day: int
    version: int = -1
    known: int = 0


class Members(NamedTuple):
    """A set after an addition.

    Attributes:
        version: Grows whenever members leave the set.
        start: The place of the first of ``members``: the caller knows those before it.
        members: The members from there on, in order of admission.
    """

    version: int
    start: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """Become the owner of something, unless it has one. The reply is the owner's name.

    Attributes:
        key: What is claimed.
        by: Who claims it.
        lifetime: ms until the claim ends; None: never. The owner's own claim renews it.
    """

    key: str
    by: str
    lifetime: int | None


class Entry(NamedTuple):
    """An entry of a log.

    Attributes:
        id: Identifies it in its log.
        by: Who wrote it.
        data: What it says.
    """

    id: bytes
    by: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Extend:
    """Put an entry behind a log, unless the log has one of its id. The reply is a ``Tail``.

    Attributes:
        key: The log's name.
        entry: The entry.
        after: How many entries of the log the caller knows: they are left out of the reply.
        only_at: The entry is put only behind exactly so many entries; None: behind any.
        lifetime: ms for which the log is kept from now on.
    """

    key: str
    entry: Entry
    after: int
    only_at: int | None
    lifetime: int


class Tail(NamedTuple):
    """The end of a log.

    Attributes:
        start: How many entries come before ``entries``.
        summary: Stands for all of those, if the store does not have the ones any more that
            the caller does not know; else None.
        entries: The entries that follow.
        kept: How many entries the store keeps of this log.
    """

    start: int
    summary: bytes | None
    entries: tuple[Entry, ...]
    kept: int


@dataclass(frozen=True, slots=True)
class Summarize:
    """Let a summary stand for the beginning of a log. The reply is None.

    Nothing happens if a summary stands for as many entries already, or if the log is shorter.

    Attributes:
        key: The log's name.
        length: How many entries the summary stands for.
        summary: The summary.
        keep: How many of these entries are kept all the same, the latest ones: for those who
            know the ones before.
        lifetime: ms for which the log is kept from now on.
    """

    key: str
    length: int
    summary: bytes = field(repr=False)
    keep: int
    lifetime: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Mark members as present or gone; of two marks of one member the later one counts.

    The reply is the number of members present whose mark is not too old.

    Attributes:
        key: The name of what they are members of.
        marks: Members with the time of the mark: positive for present, negative for gone,
            which wins where both have the same time.
        since: Marks before this time are forgotten.
        lifetime: ms for which any mark is kept from now on.
    """

    key: str
    marks: tuple[tuple[str, int], ...]
    since: int
    lifetime: int


@dataclass(frozen=True, slots=True)
class ListRecent:
    """The members present whose mark is not older than ``since``. The reply is a tuple of
    them, ascending."""

    key: str
    since: int


Operation = AddMembers | Claim | Extend | Summarize | Mark | ListRecent
Reply = Members | str | Tail | int | tuple[str, ...] | None
