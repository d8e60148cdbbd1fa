"""Recorded CMCD of three players: the worker's numbers are those of the media element.

In whatever order the bodies of a playback arrive, whole or in pieces, once or twice, to one worker
or to four, the numbers are the same.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from openqoe.core.http.messages import Request
from openqoe.core.metrics.metric import MetricType
from openqoe.core.qoe.catalogue import METRICS
from tests.support import cmcd_accuracy
from tests.support.captures import load
from tests.support.cmcd_accuracy import HEADERS, Arrange, Delivery, Measured, measure, target
from tests.support.cmcd_captures import Page, all_pages, posts, shifted
from tests.support.event_builders import NOW
from tests.support.fleet import Fleet
from tests.support.rig import MINUTE

STALL_TOLERANCE = 0.05
"""s, per stall."""

PLAYING_TOLERANCE = 0.5

PAGES = {page.name: page for page in all_pages() if page.session}
WITH_STATES = {name: page for name, page in PAGES.items() if page.player != "shaka"}

GAUGES = {metric.name for metric in METRICS if metric.type is MetricType.GAUGE}


def counts(measured: Measured) -> dict[str, float]:
    """Counters and histograms; a gauge is the mean of a flush window, which orders change."""
    return {
        series: round(value, 9)
        for series, value in measured.series.items()
        if series.partition("{")[0] not in GAUGES and value
    }


# Beside the media element


@pytest.mark.parametrize("name", WITH_STATES)
def test_start_is_that_of_the_media_element(name: str) -> None:
    page = WITH_STATES[name]
    measured = measure(page)
    if page.truth.startup_s is None:
        assert measured.startup_s is None
    else:
        assert measured.startup_s == pytest.approx(page.truth.startup_s, abs=STALL_TOLERANCE)


@pytest.mark.parametrize("cause", ["rebuffer", "seek"])
@pytest.mark.parametrize("name", WITH_STATES)
def test_stalls_are_those_of_the_media_element(name: str, cause: str) -> None:
    page = WITH_STATES[name]
    measured, count = measure(page), page.truth.count(cause)
    assert measured.stalls(cause) == count
    tolerance = STALL_TOLERANCE * max(count, 1)
    assert measured.stall_s(cause) == pytest.approx(page.truth.seconds(cause), abs=tolerance)


@pytest.mark.parametrize("name", WITH_STATES)
def test_playing_time_is_that_of_the_media_element(name: str) -> None:
    page = WITH_STATES[name]
    measured, truth = measure(page), page.truth
    assert measured.media_s == pytest.approx(truth.media_s, abs=PLAYING_TOLERANCE)
    watched = truth.playing_s + truth.rebuffer_s
    assert measured.watched_s == pytest.approx(watched, abs=PLAYING_TOLERANCE)


@pytest.mark.parametrize("name", WITH_STATES)
def test_pauses_and_seeks_are_those_of_the_media_element(name: str) -> None:
    page = WITH_STATES[name]
    measured = measure(page)
    assert (measured.pauses, measured.seeks) == (page.truth.pauses, page.truth.seeks)


@pytest.mark.parametrize(
    ("name", "outcome", "errors"),
    [
        ("hlsjs full", "completed", 0),
        ("hlsjs errors", "stopped", 0),
        ("hlsjs errors 2", "start_failure", 1),
        ("hlsjs refused", "stopped", 0),
        ("dashjs full", "playback_failure", 0),
        ("dashjs errors", "playback_failure", 3),
        ("shaka full", "unknown", 0),
        ("shaka errors", "unknown", 10),
        ("shaka errors 2", "", 0),
        ("shaka refused", "unknown", 0),
    ],
)
def test_view_has_outcome_and_errors(name: str, outcome: str, errors: int) -> None:
    measured = measure(PAGES[name])
    assert (measured.outcome, measured.errors) == (outcome, errors)


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("shaka")])
def test_player_without_states_gives_no_false_zero(name: str) -> None:
    series = measure(PAGES[name]).series
    for metric in (
        *("openqoe_views_started_total", "openqoe_playing_time_seconds"),
        *("openqoe_watch_time_seconds", "openqoe_rebuffer_events_total"),
        *("openqoe_view_rebuffer_seconds_count", "openqoe_video_startup_seconds_count"),
        *("openqoe_completion_rate_count", "openqoe_view_score_count"),
    ):
        assert not any(one.partition("{")[0] == metric for one in series), metric


def test_delay_since_load_of_shaka_is_a_reported_start() -> None:
    measured = measure(PAGES["shaka refused"])
    assert measured.total("openqoe_reported_startup_seconds_sum", 'field="msd"') == 0.167


# Delivery


def test_requests_are_counted_and_times_of_day_are_no_durations() -> None:
    dash, hls = measure(PAGES["dashjs full"]), measure(PAGES["hlsjs full"])
    ok = 'code_class="2xx"'
    assert dash.total("openqoe_media_requests_total", ok, 'object_type="v"') > 0
    assert dash.total("openqoe_media_requests_total", 'code_class="none"') > 0
    # All of dash.js are epoch-sized.
    assert dash.total("openqoe_media_request_ttfb_seconds_count") == 0
    assert dash.total("openqoe_media_request_duration_seconds_count") > 0
    requests = hls.total("openqoe_media_requests_total")
    assert hls.total("openqoe_media_request_ttfb_seconds_count") == requests


def test_bit_rates_buffers_and_throughput_are_reported() -> None:
    hls = measure(PAGES["hlsjs full"])
    assert hls.total("openqoe_quality_changes_total", 'change_direction="downshift"') == 2
    assert hls.total("openqoe_quality_changes_total", 'change_direction="upshift"') == 3
    for metric in ("bitrate_bps", "buffer_length_seconds", "throughput_bps"):
        assert hls.total(f"openqoe_{metric}_count") > 5, metric


# Any way in which the bodies arrive


def whole(page: Page) -> Iterator[Delivery]:
    """All in one body, at the end."""
    yield page.accepted[-1].t, b"".join(post.body for post in page.accepted)


def doubled(page: Page) -> Iterator[Delivery]:
    """Each body again, and each in the next body, as after a refusal."""
    earlier = b""
    for post in page.accepted:
        yield post.t, post.body
        yield post.t + 700, post.body
        yield post.t + 300, earlier + post.body
        earlier = post.body


def shuffled(page: Page) -> Iterator[Delivery]:
    """Late by up to 2 s."""
    chance = Random(page.name)
    for post in page.accepted:
        yield post.t + chance.randrange(2_000), post.body


def reversed_pairs(page: Page) -> Iterator[Delivery]:
    """Each body after the one that follows."""
    for number, post in enumerate(page.accepted):
        yield post.t + (900 if number % 2 else 0), post.body


@pytest.mark.parametrize("arrange", [whole, doubled, shuffled, reversed_pairs])
@pytest.mark.parametrize("name", PAGES)
def test_arrival_changes_nothing(name: str, arrange: Arrange) -> None:
    page = PAGES[name]
    assert counts(measure(page, arrange)) == counts(measure(page))


def replay(fleet: Fleet, recording: str, chance: Random | None) -> dict[str, float]:
    """Send a recording to a fleet, each body to a worker by chance."""
    ms = NOW + MINUTE - load(recording).t0
    query = target(next(page for page in PAGES.values() if page.recording == recording))
    for post in posts(recording):
        fleet.pass_time(max(0, NOW + MINUTE + post.t - fleet.now))
        body = shifted(post.body, ms)
        request = Request("POST", "/v2/cmcd", query, HEADERS, body, fleet.now)
        number = 0 if chance is None else chance.randrange(4)
        assert fleet.handle(number, request).status == 204
    for minutes in (1, 30, 1):
        fleet.pass_time(minutes * MINUTE)
    return dict(fleet.counts())


@pytest.mark.parametrize("recording", sorted({page.recording for page in PAGES.values()}))
def test_records_spread_over_four_workers_count_as_on_one(recording: str) -> None:
    one = Fleet(1, shared=False, OPENQOE_FLUSH_INTERVAL="60")
    alone = replay(one, recording, None)
    four = Fleet(4, OPENQOE_FLUSH_INTERVAL="60", OPENQOE_KV_SYNC_INTERVAL="30")
    assert replay(four, recording, Random(recording)) == alone
    assert sum(alone.values()) > 0
    lines = sorted(entry.line for entry in four.loki.entries())
    assert lines == sorted(entry.line for entry in one.loki.entries())


def test_queue_that_comes_after_an_outage_counts_once() -> None:
    """hls.js keeps what is refused for a minute, and sends it before the next event."""
    page = PAGES["hlsjs full"]
    refused_from, refused_until = 10_000, 40_000

    def after_outage(page: Page) -> Iterator[Delivery]:
        queue = b""
        for post in page.accepted:
            if refused_from <= post.t < refused_until:
                queue += post.body
                continue
            if queue:
                yield post.t, queue + post.body
                yield post.t + 5, queue + post.body  # its answer was lost
                queue = b""
            else:
                yield post.t, post.body

    late, timely = measure(page, after_outage), measure(page)
    assert late.total("openqoe_events_total") == timely.total("openqoe_events_total")
    assert late.media_s == pytest.approx(timely.media_s, abs=0.001)
    assert late.stalls("rebuffer") == timely.stalls("rebuffer") == 1


# The documentation


def test_table_of_the_documentation_is_what_the_command_prints() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "cmcd.md"
    assert cmcd_accuracy.table() in page.read_text()
