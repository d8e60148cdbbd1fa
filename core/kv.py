"""Operations on the key-value store through which several workers count as one.

A store holds four kinds of values under keys. Each operation is atomic, needs no read before
it, and may be repeated: if its reply was lost, running it again does no harm.

    set         values in order of admission         ``AddMembers``
    claim       one owner, for a time                ``Claim``
    log         entries in order, and a summary      ``Extend``, ``Summarize``
    recent      members by the time of their mark    ``Mark``, ``ListRecent``

Each operation touches one key, so that a store may spread keys over machines. Times are ms.
``shells/stores`` has stores; ``tests/stores`` specifies what every store must do.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class AddMembers:
    """Add members to a set of bounded size; the first ones keep their place.

    The reply is a ``Members``.

    Attributes:
        key: The set's name.
        members: Members to add; those already in the set keep their place.
        limit: How many members the set has at the most; None: unlimited.
        day: The current day (days since the epoch). A member that was not added
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
    """Become the owner of a key, unless it has one. The reply is the owner's name.

    Attributes:
        key: The key.
        by: The claimant's name.
        lifetime: ms until the claim ends; None: never. The owner's own claim renews it.
    """

    key: str
    by: str
    lifetime: int | None


class Entry(NamedTuple):
    """An entry of a log.

    Attributes:
        id: Identifies it in its log.
        by: The name of its writer.
        data: Its content.
    """

    id: bytes
    by: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Extend:
    """Append an entry to a log, unless the log has an entry with its id. The reply is a ``Tail``.

    Attributes:
        key: The log's name.
        entry: The entry.
        after: How many entries of the log the caller knows: they are left out of the reply.
        only_at: Length that the log must have for the entry to be appended; None: any.
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
        summary: Summary of all of those, if the store no longer has the ones that the caller
            does not know; else None.
        entries: The entries that follow.
        kept: How many entries the store keeps of this log.
    """

    start: int
    summary: bytes | None
    entries: tuple[Entry, ...]
    kept: int


@dataclass(frozen=True, slots=True)
class Summarize:
    """Replace the beginning of a log by a summary. The reply is None.

    Nothing happens if a summary covers as many entries already, or if the log is shorter.

    Attributes:
        key: The log's name.
        length: How many entries the summary covers.
        summary: The summary.
        keep: How many of these entries stay all the same: the latest ones, for workers that know
            those before.
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
        key: The name of the set.
        marks: Members with the time of the mark: positive for present, negative for gone,
            which wins where both have the same time.
        since: Marks before this time are removed.
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
