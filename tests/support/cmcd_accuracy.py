"""What the worker measures for the recorded CMCD playbacks, beside their media elements.

`python -m tests.support.cmcd_accuracy` prints the table of docs/cmcd.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from openqoe.core.http.messages import Request
from tests.support.captures import load
from tests.support.cmcd_captures import Page, all_pages, shifted
from tests.support.rig import MINUTE, Rig

HEADERS: Final = {
    "content-type": "application/cmcd",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156 Safari/537.36",
}

Delivery = tuple[int, bytes]
"""Arrival in ms on the recording's clock, and body."""

Arrange = Callable[[Page], Iterable[Delivery]]
"""How the bodies of a page arrive."""


def as_recorded(page: Page) -> Iterator[Delivery]:
    """The accepted bodies at their recorded times."""
    for post in page.accepted:
        yield post.t, post.body


@dataclass(frozen=True, slots=True)
class Measured:
    """What the worker has counted for one playback."""

    series: dict[str, float]

    def total(self, name: str, *own: str) -> float:
        """The sum of the series of a metric with these own labels (``cause="seek"``)."""
        return sum(
            value
            for series, value in self.series.items()
            if series.partition("{")[0] == name and all(label in series for label in own)
        )

    @property
    def startup_s(self) -> float | None:
        if not self.total("openqoe_video_startup_seconds_count"):
            return None
        return self.total("openqoe_video_startup_seconds_sum")

    def stalls(self, cause: str) -> int:
        return round(self.total("openqoe_rebuffer_events_total", f'cause="{cause}"'))

    def stall_s(self, cause: str) -> float:
        return self.total("openqoe_rebuffer_duration_seconds_sum", f'cause="{cause}"')

    @property
    def media_s(self) -> float:
        return self.total("openqoe_playing_time_seconds")

    @property
    def watched_s(self) -> float:
        return self.total("openqoe_watch_time_seconds")

    @property
    def seeks(self) -> int:
        return round(self.total("openqoe_seeks_total"))

    @property
    def pauses(self) -> int:
        return round(self.total("openqoe_pause_events_total"))

    @property
    def errors(self) -> int:
        return round(self.total("openqoe_errors_total"))

    @property
    def outcome(self) -> str:
        """The outcome of the view; "" if it has none."""
        prefix = 'openqoe_view_outcomes_total{outcome="'
        found = [one[len(prefix) : -2] for one in self.series if one.startswith(prefix)]
        return " ".join(found)


def target(page: Page) -> str:
    """The query of the target that the page's player reports to."""
    return f"org_id=acme&player_id=web&player_name={page.player}"


@cache
def measure(page: Page, arrange: Arrange = as_recorded) -> Measured:
    """Let a worker count a page whose bodies arrive in some way, and end its view."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="60", OPENQOE_VIEW_TIMEOUT="120")
    offset = rig.now + MINUTE - min(post.t for post in page.posts)
    ms = offset - load(page.recording).t0
    for arrival, body in sorted(arrange(page), key=lambda one: one[0]):
        rig.pass_time(max(0, arrival + offset - rig.now))
        request = Request("POST", "/v1/cmcd", target(page), HEADERS, shifted(body, ms), rig.now)
        assert rig.handle(request).status == 204
    rig.pass_time(rig.worker.config.view_timeout + MINUTE)
    return Measured(rig.qoe_series())


def table() -> str:
    """The table of docs/cmcd.md: ours beside the media element's truth."""
    rows = [("playback", "metric", "ours", "media element")]
    for page in all_pages():
        if not page.session:
            continue
        ours, truth = measure(page), page.truth
        rows += [
            (page.name, "outcome", ours.outcome, ""),
            ("", "start-up, s", _number(ours.startup_s), _number(truth.startup_s)),
        ]
        if page.player != "shaka":
            rows += [
                ("", "rebuffering", *_stalls(ours, page, "rebuffer")),
                ("", "waits in seeks", *_stalls(ours, page, "seek")),
                ("", "media played, s", _number(ours.media_s), _number(truth.media_s)),
                (
                    "",
                    "pauses, seeks",
                    f"{ours.pauses}, {ours.seeks}",
                    f"{truth.pauses}, {truth.seeks}",
                ),
            ]
        rows.append(("", "errors", str(ours.errors), ""))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| --- | --- | --- | --- |", *lines[1:]])


def _stalls(ours: Measured, page: Page, cause: str) -> tuple[str, str]:
    return (
        f"{ours.stalls(cause)}: {_number(ours.stall_s(cause))} s",
        f"{page.truth.count(cause)}: {_number(page.truth.seconds(cause))} s",
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    print(table())
