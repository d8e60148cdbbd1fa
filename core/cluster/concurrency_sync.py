"""Concurrent views over all workers: marked and counted in the store, reported by one worker.

Several workers may see a view within one window, and they flush at different times: if each set the
gauge for itself, the view would count twice. So each worker marks the views that it sees in the
store, and one worker, the reporter, sets the gauge for all. The reporter holds a lease; when it is
not renewed, another worker becomes the reporter.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from ..kv import Claim, ListRecent, Mark, Operation, Reply
from ..metrics.series import Labels
from ..primitives.bounded_cache import BoundedCache
from ..primitives.memory_size import memory_size
from ..qoe.view import View
from ..qoe.view_table import CONCURRENCY_WINDOW
from .sync_participant import SyncParticipant
from .view_log import view_id

SETS = "playing"
"""Key of the label sets that have playing views."""

LEASE = 3
"""Sync intervals that a reporter's lease lasts."""

MAX_TEXT_BYTES = 8 * 1024 * 1024
"""Approximate bytes of the texts of label sets that are cached."""

MAX_MARKED_BYTES = 4 * 1024 * 1024
"""Bytes of the texts in one update, about; the other views follow with the next one."""

_encode_labels = msgspec.json.Encoder().encode
_decode_labels = msgspec.json.Decoder(Labels).decode


class ConcurrencySync(SyncParticipant):
    """Marks and counts concurrent views.

    Attributes:
        counts: Concurrent views by base labels if this worker is the reporter, else empty.
    """

    def __init__(self, instance: str, interval: int) -> None:
        self._instance = instance
        self._lease = LEASE * max(interval, 1000)
        self._seen: dict[View, None] = {}
        self._marks: dict[View, Labels] = {}  # latest mark of each playing view
        self._texts: BoundedCache[Labels, str] = BoundedCache(MAX_TEXT_BYTES)
        self._sets: tuple[str, ...] = ()
        # Views of the update under way, and their marks
        self._asked: dict[View, Labels | None] = {}
        self._counted: tuple[str, ...] = ()
        self._is_reporter = False
        self.counts: Mapping[Labels, int] = {}

    def note_view(self, view: View) -> None:
        """An event of a view has come."""
        self._seen[view] = None

    def operations(self, now: int) -> list[Operation]:
        """Claim the report, mark what was seen, and as the reporter count."""
        marks: dict[str, list[tuple[str, int]]] = {}
        waiting = dict.fromkeys((*self._asked, *self._seen))
        self._asked, self._seen = {}, {}
        size = 0
        for view in waiting:
            if size > MAX_MARKED_BYTES:
                self._seen[view] = None
                continue
            name, before = view_id(view.key), self._marks.get(view)
            labels = view.labels if view.is_concurrent else None
            self._asked[view] = labels
            texts = []
            if labels is not None:
                texts.append((self._text(labels), view.last_seen))
            if before is not None and before != labels:
                texts.append((self._text(before), -view.last_seen))
            elif labels is None:  # another worker may have marked it
                texts.append((self._text(view.labels), -view.last_seen))
            for text, at in texts:
                if text not in marks:
                    marks[text] = []
                    size += len(text)
                marks[text].append((name, at))
        since = now - CONCURRENCY_WINDOW
        counted = dict.fromkeys((*marks, *(self._sets if self._is_reporter else ())))
        operations: list[Operation] = [
            Claim("reporter", self._instance, self._lease),
            Mark(SETS, tuple((text, now) for text in marks), since, 4 * CONCURRENCY_WINDOW),
            ListRecent(SETS, since),
        ]
        operations += (
            Mark(f"{SETS}:{text}", tuple(marks.get(text, ())), since, 4 * CONCURRENCY_WINDOW)
            for text in counted
        )
        self._counted = tuple(counted)
        return operations

    def process_replies(self, replies: Sequence[Reply], now: int) -> None:
        """Store the counts."""
        owner, _, sets, *counts = replies
        for view, labels in self._asked.items():
            if labels is None:
                self._marks.pop(view, None)
            else:
                self._marks[view] = labels
        self._asked = {}
        self._marks = {v: labels for v, labels in self._marks.items() if v.is_concurrent}
        self._sets = cast(tuple[str, ...], sets)
        self._is_reporter = owner == self._instance
        self.counts = {}
        if self._is_reporter:
            pairs = zip(self._counted, cast(list[int], counts), strict=True)
            self.counts = {_decode_labels(text.encode()): count for text, count in pairs if count}

    def _text(self, labels: Labels) -> str:
        text = self._texts.get(labels)
        if text is None:
            text = _encode_labels(labels).decode()
            self._texts.add(labels, text, memory_size(labels) + memory_size(text))
        return text

    def republish(self, now: int) -> None:
        """Mark all playing views again."""
        self._seen.update(dict.fromkeys(self._marks))
