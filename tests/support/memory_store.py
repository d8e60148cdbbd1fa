"""A key-value store in memory, for several workers in one process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from openqoe.core.kv import (
    AddMembers,
    Claim,
    Entry,
    Extend,
    ListRecent,
    Mark,
    Members,
    Operation,
    Reply,
    Summarize,
    Tail,
)
from openqoe.shells.service.clock import now_ms

SWEEP_INTERVAL = 4_096
"""Number of operations between two sweeps of expired keys."""


@dataclass(slots=True)
class _Set:
    version: int = 0
    members: dict[str, int] = field(default_factory=dict)  # value: day of the last addition


@dataclass(slots=True)
class _Log:
    ends: int = 0
    start: int = 0  # number of entries removed
    entries: list[Entry] = field(default_factory=list)
    summarized: int = 0
    summary: bytes | None = None


@dataclass(slots=True)
class _Recent:
    ends: int = 0
    marks: dict[str, int] = field(default_factory=dict)


class MemoryStore:
    """Keeps everything in dictionaries. Safe to use from several threads.

    Args:
        clock: Returns the time in ms.
    """

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._lock = Lock()
        self._sets: dict[str, _Set] = {}
        self._claims: dict[str, tuple[str, int | None]] = {}  # owner, end
        self._logs: dict[str, _Log] = {}
        self._recent: dict[str, _Recent] = {}
        self._until_sweep = SWEEP_INTERVAL

    def run(self, operations: tuple[Operation, ...]) -> tuple[Reply, ...]:
        """Run operations in order; return their replies."""
        with self._lock:
            now = self._clock()
            self._sweep(len(operations), now)
            return tuple(self._run(operation, now) for operation in operations)

    def close(self) -> None:
        """Does nothing."""

    def _run(self, operation: Operation, now: int) -> Reply:
        match operation:
            case AddMembers():
                return self._add_members(operation)
            case Claim():
                return self._claim(operation, now)
            case Extend():
                return self._extend(operation, now)
            case Summarize():
                self._summarize(operation, now)
                return None
            case Mark():
                return self._mark(operation, now)
            case ListRecent():
                return self._list(operation)

    def _add_members(self, operation: AddMembers) -> Members:
        found = self._sets.setdefault(operation.key, _Set())
        staying = {m: day for m, day in found.members.items() if day >= operation.day - 1}
        if len(staying) < len(found.members):
            found.version += 1
        found.members = staying
        for member in operation.members:
            if member in staying:
                staying[member] = max(staying[member], operation.day)
            elif operation.limit is None or len(staying) < operation.limit:
                staying[member] = operation.day
        knows = operation.version == found.version and operation.known <= len(staying)
        start = operation.known if knows else 0
        return Members(found.version, start, tuple(staying)[start:])

    def _claim(self, operation: Claim, now: int) -> str:
        owner, end = self._claims.get(operation.key, (operation.by, None))
        if end is not None and end <= now:
            owner = operation.by
        if owner == operation.by:
            until = None if operation.lifetime is None else now + operation.lifetime
            self._claims[operation.key] = owner, until
        return owner

    def _extend(self, operation: Extend, now: int) -> Tail:
        log = self._log(operation.key, operation.lifetime, now)
        entry, length = operation.entry, log.start + len(log.entries)
        if operation.only_at in (None, length):
            if all(known.id != entry.id for known in log.entries):
                log.entries.append(entry)
        if operation.after >= log.start:
            return Tail(
                operation.after,
                None,
                tuple(log.entries[operation.after - log.start :]),
                len(log.entries),
            )
        behind = tuple(log.entries[log.summarized - log.start :])
        return Tail(log.summarized, log.summary, behind, len(log.entries))

    def _summarize(self, operation: Summarize, now: int) -> None:
        log = self._log(operation.key, operation.lifetime, now)
        if log.summarized < operation.length <= log.start + len(log.entries):
            log.summarized, log.summary = operation.length, operation.summary
            dropped = max(0, operation.length - operation.keep - log.start)
            del log.entries[:dropped]
            log.start += dropped

    def _log(self, key: str, lifetime: int, now: int) -> _Log:
        log = self._logs.get(key)
        if log is None or log.ends <= now:
            log = self._logs[key] = _Log()
        log.ends = now + lifetime
        return log

    def _mark(self, operation: Mark, now: int) -> int:
        recent = self._recent.setdefault(operation.key, _Recent())
        recent.ends = now + operation.lifetime
        marks = recent.marks
        for member, mark in operation.marks:
            before = marks.get(member, 0)
            if (abs(mark), mark < 0) > (abs(before), before < 0):
                marks[member] = mark
        recent.marks = {m: mark for m, mark in marks.items() if abs(mark) >= operation.since}
        return sum(mark > 0 for mark in recent.marks.values())

    def _list(self, operation: ListRecent) -> tuple[str, ...]:
        recent = self._recent.get(operation.key, _Recent())
        return tuple(sorted(m for m, mark in recent.marks.items() if mark >= operation.since))

    def _sweep(self, operations: int, now: int) -> None:
        self._until_sweep -= operations
        if self._until_sweep > 0:
            return
        self._until_sweep = SWEEP_INTERVAL
        self._claims = {
            key: claim for key, claim in self._claims.items() if claim[1] is None or claim[1] > now
        }
        self._logs = {key: log for key, log in self._logs.items() if log.ends > now}
        self._recent = {key: marks for key, marks in self._recent.items() if marks.ends > now}
