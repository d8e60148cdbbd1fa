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
from ..qoe.view import View
from ..qoe.view_table import CONCURRENCY_WINDOW
from .sync_participant import SyncParticipant
from .view_log import view_id

SETS = "playing"
"""Key of the label sets that have playing views."""

LEASE = 3
"""Sync intervals that a reporter's lease lasts."""

TEXTS = 10_000
"""Label sets whose text is cached at the most."""

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
        self._texts: dict[View, str] = {}  # latest mark of each playing view
        self._known: dict[Labels, str] = {}  # the texts by labels: many views share each
        self._sets: tuple[str, ...] = ()
        self._asked: dict[View, str | None] = {}  # views of the update under way, and their marks
        self._counted: tuple[str, ...] = ()
        self._is_reporter = False
        self.counts: Mapping[Labels, int] = {}

    def note_view(self, view: View) -> None:
        """An event of a view has come."""
        self._seen[view] = None

    def operations(self, now: int) -> list[Operation]:
        """Claim the report, mark what was seen, and as the reporter count."""
        marks: dict[str, list[tuple[str, int]]] = {}
        self._asked = dict.fromkeys((*self._asked, *self._seen))
        self._seen = {}
        for view in self._asked:
            name, before = view_id(view.key), self._texts.get(view)
            text = self._text(view.labels) if view.is_concurrent else None
            self._asked[view] = text
            if text is not None:
                marks.setdefault(text, []).append((name, view.last_seen))
            if before is not None and before != text:
                marks.setdefault(before, []).append((name, -view.last_seen))
            elif text is None:
                labels = self._text(view.labels)  # another worker may have marked it
                marks.setdefault(labels, []).append((name, -view.last_seen))
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
        for view, text in self._asked.items():
            if text is None:
                self._texts.pop(view, None)
            else:
                self._texts[view] = text
        self._asked = {}
        self._texts = {v: text for v, text in self._texts.items() if v.is_concurrent}
        self._sets = cast(tuple[str, ...], sets)
        self._is_reporter = owner == self._instance
        self.counts = {}
        if self._is_reporter:
            pairs = zip(self._counted, cast(list[int], counts), strict=True)
            self.counts = {_decode_labels(text.encode()): count for text, count in pairs if count}

    def _text(self, labels: Labels) -> str:
        text = self._known.get(labels)
        if text is None:
            if len(self._known) >= TEXTS:
                self._known.clear()
            text = self._known[labels] = _encode_labels(labels).decode()
        return text

    def republish(self, now: int) -> None:
        """Mark all playing views again."""
        self._seen.update(dict.fromkeys(self._texts))
