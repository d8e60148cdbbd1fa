"""The reference model of a store, without expiry."""

from __future__ import annotations

from typing import Any

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


class Model:
    """A store in which nothing expires."""

    def __init__(self) -> None:
        self.sets: dict[str, list[list[Any]]] = {}  # [member, day]
        self.versions: dict[str, int] = {}
        self.owners: dict[str, str] = {}
        self.logs: dict[str, list[Entry]] = {}
        self.dropped: dict[str, int] = {}
        self.summaries: dict[str, tuple[int, bytes | None]] = {}
        self.marks: dict[tuple[str, str], tuple[int, bool]] = {}  # time, gone

    def run(self, operations: tuple[Operation, ...]) -> tuple[Reply, ...]:
        return tuple(self._run(operation) for operation in operations)

    def close(self) -> None: ...

    def _run(self, operation: Operation) -> Reply:
        match operation:
            case AddMembers():
                return self._add(operation)
            case Claim(key, by):
                return self.owners.setdefault(key, by)
            case Extend():
                return self._extend(operation)
            case Summarize(key, length, summary, keep):
                log = self.logs.get(key, [])
                if self.summaries.get(key, (0, None))[0] < length <= len(log):
                    self.summaries[key] = length, summary
                    self.dropped[key] = max(self.dropped.get(key, 0), length - keep)
                return None
            case Mark(key, marks, since):
                for member, mark in marks:
                    before = self.marks.get((key, member), (0, False))
                    self.marks[key, member] = max(before, (abs(mark), mark < 0))
                self.marks = {
                    name: mark
                    for name, mark in self.marks.items()
                    if name[0] != key or mark[0] >= since
                }
                return len(self._recent(key, since))
            case ListRecent(key, since):
                return tuple(sorted(self._recent(key, since)))

    def _recent(self, key: str, since: int) -> list[str]:
        return [
            member
            for (of, member), (at, gone) in self.marks.items()
            if of == key and at >= since and not gone
        ]

    def _add(self, operation: AddMembers) -> Members:
        key, day = operation.key, operation.day
        members = self.sets.get(key, [])
        staying = [pair for pair in members if pair[1] >= day - 1]
        self.versions[key] = self.versions.get(key, 0) + (len(staying) < len(members))
        for member in operation.members:
            known = [pair for pair in staying if pair[0] == member]
            if known:
                known[0][1] = max(known[0][1], day)
            elif operation.limit is None or len(staying) < operation.limit:
                staying.append([member, day])
        self.sets[key] = staying
        is_current = operation.version == self.versions[key] and operation.known <= len(staying)
        start = operation.known if is_current else 0
        return Members(self.versions[key], start, tuple(pair[0] for pair in staying[start:]))

    def _extend(self, operation: Extend) -> Tail:
        key = operation.key
        log, dropped = self.logs.setdefault(key, []), self.dropped.get(key, 0)
        is_new = all(entry.id != operation.entry.id for entry in log[dropped:])
        if is_new and operation.only_at in (None, len(log)):
            log.append(operation.entry)
        kept = len(log) - dropped
        if operation.after >= dropped:
            return Tail(operation.after, None, tuple(log[operation.after :]), kept)
        length, summary = self.summaries[key]
        return Tail(length, summary, tuple(log[length:]), kept)
