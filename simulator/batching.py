"""Groups events into requests, and decides when each is sent.

An SDK sends a batch at 10 events, or 5 s after its first event. While the network is down, batches
are queued; they are sent late, in order, all at once. Some are sent twice: by a second loop over
the same queue, or again after the next page load.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final
from urllib.parse import urlencode

import msgspec

from .cmcd_player import user_agent
from .sdk_adapter import ENV, Event, Identity
from .truth import Expected, Fact, Labels, Period
from .world import NO_SDK

BATCH_SIZE: Final = 10
BATCH_INTERVAL: Final = 5_000.0
"""ms after the first event of a batch."""

OUTAGE_SHARE: Final = 0.004
"""Share of batches before which the network goes down."""

COPY_SHARE: Final = 0.015
"""Share of batches that a second loop sends again."""

STORED_SHARE: Final = 0.4
"""Share of page closes of the first generation after which the last batch is sent again."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Batch:
    """A request of an SDK, or of a player that reports by CMCD.

    Attributes:
        viewer: Number of the viewer: requests of one viewer are sent one after another.
        at: When it is sent, ms since the epoch.
        path: Path of the request with its query; each SDK generation has its own.
        headers: Headers of the browser, and of the CDN in front of the worker.
        body: The batch.
        types: The type of each event in it.
        expected: What a worker must count, by view.
        copy_at: When the batch is sent again; None for never.
        is_copy: Whether it was sent before.
        is_late: Whether it was delayed by the network.
    """

    viewer: int
    at: float
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    types: tuple[str, ...]
    expected: tuple[Expected, ...]
    copy_at: float | None = None
    is_copy: bool = False
    is_late: bool = False


def cmcd_path(identity: Identity) -> str:
    """The target of a site's CMCD reports, whose query is their identity."""
    site = identity.site
    fields = {"org_id": site.org, "player_id": site.player_id, "player_name": site.player}
    fields |= {"env": ENV, "app_name": site.app, "app_version": identity.version}
    return f"/v1/cmcd?{urlencode(fields)}"


class Outbox:
    """The queue of one page's SDK or player.

    Attributes:
        sent_at: When the latest batch was sent; 0 before the first.
    """

    def __init__(self, viewer: int, identity: Identity, rng: Random) -> None:
        self._viewer = viewer
        self._rng = rng
        self._generation = identity.site.generation
        self._is_cmcd = self._generation == NO_SDK
        self._path = cmcd_path(identity) if self._is_cmcd else f"/v{self._generation}/events"
        self._headers: tuple[tuple[str, str], ...] = (
            ("Content-Type", "application/cmcd" if self._is_cmcd else "application/json"),
            ("Origin", f"https://{identity.site.org}.example"),
            ("X-Country-Code", identity.country),
        )
        if self._is_cmcd:
            self._headers += (("User-Agent", user_agent(identity.device)),)
        self._outage_share = OUTAGE_SHARE * (4 if identity.device.category == "mobile" else 1)
        self._events: list[tuple[Labels, Event]] = []
        self._down_until = 0.0
        self.sent_at = 0.0
        self._was_pause = False

    def add(self, labels: Labels, events: Iterable[Event], at: float) -> Iterator[Batch]:
        """Add events; yields the batches that are sent before or with them.

        Args:
            labels: Base labels of their metrics.
            events: The events.
            at: When they are observed. CMCD records are sent at once.
        """
        if self._is_cmcd:
            untyped = tuple(pair for pair in labels if pair[0] != "content_type")
            self._events += [
                (labels if event.content["is_typed"] else untyped, event) for event in events
            ]
            if self._events:
                yield self._send(at)
            return
        for event in events:
            yield from self.flush_due(event.at)
            self._events.append((labels, event))
            if len(self._events) >= BATCH_SIZE:
                yield self._send(event.at)

    def flush_due(self, until: float) -> Iterator[Batch]:
        """The batch that is due until a time, if there is one."""
        if self._events and (due := self._events[0][1].at + BATCH_INTERVAL) <= until:
            yield self._send(due)

    def close(self, at: float) -> Iterator[Batch]:
        """Close the page: the remaining events are sent at once, by a beacon in the second
        generation."""
        if self._events:
            yield self._send(at, is_last=True)

    def _send(self, formed_at: float, *, is_last: bool = False) -> Batch:
        rng = self._rng
        # After a pause the page may be about to end; the worker waits 10 s for that event.
        if not self._was_pause and rng.random() < self._outage_share:
            self._down_until = formed_at + rng.uniform(12_000, 90_000)
        is_late = formed_at < self._down_until
        at = max(formed_at, self._down_until if is_late else 0.0, self.sent_at + 15.0)
        self.sent_at = at
        events = self._events
        self._events = []
        newest = events[-1][1].content
        self._was_pause = newest["event_type"] == "pause" or newest.get("state") == "a"
        copy_at = None
        if is_last and self._generation == 1 and rng.random() < STORED_SHARE:
            copy_at = at + rng.uniform(3_000, 90_000)
        elif rng.random() < COPY_SHARE:
            copy_at = at + rng.uniform(50, 8_000)
        facts: dict[str, list[Fact]] = {}
        periods: dict[str, list[Period]] = {}
        latest: dict[str, tuple[Labels, Event]] = {}
        for labels, event in events:
            facts.setdefault(event.view, []).extend(event.facts)
            if event.period is not None:
                periods.setdefault(event.view, []).append(event.period)
            latest[event.view] = labels, event
        headers = self._headers
        if not (self._is_cmcd or (is_last and self._generation == 2)):  # a beacon has none
            headers = (*headers, ("X-SDK-Version", "1.0.0"))
        return Batch(
            self._viewer,
            at,
            self._path,
            headers,
            self._encode_body(events),
            tuple(event.content["event_type"] for _, event in events),
            tuple(
                Expected(
                    view, labels, tuple(facts[view]), event.closing, tuple(periods.get(view, ()))
                )
                for view, (labels, event) in latest.items()
            ),
            copy_at,
            is_late=is_late,
        )

    def _encode_body(self, events: list[tuple[Labels, Event]]) -> bytes:
        if self._is_cmcd:
            return "".join(f"{event.content['record']}\n" for _, event in events).encode()
        return _encode({"events": [event.content for event in self._as_built(events)]})

    def _as_built(self, events: list[tuple[Labels, Event]]) -> list[Event]:
        """SDKs build events asynchronously, so neighbours of different times may be swapped."""
        order = [event for _, event in events]
        for n in range(len(order) - 1):
            if order[n].at != order[n + 1].at and self._rng.random() < 0.03:
                order[n], order[n + 1] = order[n + 1], order[n]
        return order
